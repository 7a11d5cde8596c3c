"""The public members of the classes that users receive are those of the documented interface."""

from __future__ import annotations

import numpy as np
import pytest

import convsolve as cs

PROBLEM = cs.Problem(*np.random.default_rng(0).standard_normal((2, 60, 2)), lags=(0, 2))
FIT = cs.solve(PROBLEM, penalty="ridge")
GIVEN = [
    PROBLEM, FIT, FIT.identifiability, cs.compare(PROBLEM, ["qr"]), FIT.score(), FIT.noise,
    FIT.regularization, PROBLEM.spec, cs.Limits(), cs.solve(PROBLEM, "adam").trace,
]  # fmt: skip
OBJECTS = {type(one).__name__: one for one in GIVEN}
MEMBERS = {
    "Problem": "x y lags times channels outputs fs n_channels n_outputs n_equations "
    "n_unknowns kernel_shape bias spec coefficient_names of_rows only without parts plot",
    "Solution": "impulse_response lags times kernel bias standard_error confidence_band test "
    "coefficients coefficient_error coefficient_names "
    "predict residuals score status regularization identifiability plot channels outputs problem "
    "trace converged backward_error duality_gap noise covariance jackknife permutation_test "
    "frequency_response step_response delay whiteness patterns stats save to_html facts to_dict "
    "to_dataframe to_xarray",
    "Identifiability": "verdict unique rank n_equations n_unknowns condition_number "
    "singular_values identifiable bias_identifiable padding_dependent noise_gain "
    "weakly_determined collinear null_space suggestions problem "
    "ridge_for descent facts plot to_dict",
    "Comparison": "solutions rows curves conclusion identifiability skipped exact_seconds "
    "shared_seconds plot to_dict to_dataframe",
    "Score": "outputs r2 r2_standard_error r2_total correlation mse fit_percent r2_interval "
    "to_dict effective_rows mean",
    "Regularization": "penalty strength criterion effective_dof noise_variance score path at_edge "
    "outputs parameter plot to_dict hyperparameters from_dict",
    "ConvSpec": "kernel_size stride padding dilation groups ndim output_shape lags minimum_samples "
    "lo",
    "Limits": "memory data",
    "Trace": "steps losses kernels seconds excess statistical_error ratios diverged",
    "NoiseEstimate": "kind variance dof order coefficients",
}


@pytest.mark.parametrize("name", MEMBERS)
def test_public_members_are_those_of_the_interface(name: str) -> None:
    found = {member for member in dir(OBJECTS[name]) if member[0] != "_"}
    rendered = {"facts", "to_dict"} & found
    assert found == {*MEMBERS[name].split()} | rendered
