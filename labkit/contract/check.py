"""The layer contract as a public product: `labkit.check(MyLayer, example)` runs every property on anyone's layer.

Each property is a function `(layer, inputs, example)` that fails with a sentence, or returns why it says nothing about
this layer. The names of the functions, with spaces, are the names by which an example may exempt itself, with a reason.
"""

from collections.abc import Callable, Sequence

from torch import nn

from labkit.contract import layer_answers, layer_company, layer_tools
from labkit.contract.proving import Property, prove_on, sentence
from labkit.example import Example

PROPERTIES: tuple[Property, ...] = (
    layer_answers.shape_fits_its_annotation_and_is_finite,
    layer_answers.returns_only_a_tensor,
    layer_company.any_leading_dimensions_also_an_empty_batch,
    layer_answers.float64_and_bfloat16_in_the_same_out,
    layer_answers.non_contiguous_input_gives_the_same,
    layer_answers.every_parameter_and_input_learns,
    layer_answers.gradients_are_right,
    layer_answers.equals_its_reference_forward_and_backward,
    layer_answers.same_seed_gives_the_same_output,
    layer_answers.evaluation_is_pure,
    layer_answers.hardened_training_equals_evaluation,
    layer_company.rows_do_not_mix,
    layer_company.the_past_does_not_see_the_future,
    layer_company.what_is_not_a_number_stays_in_its_row,
    layer_tools.without_gradients_the_answer_is_the_same,
    layer_tools.runs_under_autocast,
    layer_tools.state_survives_a_safe_file,
    layer_tools.copies_and_pickles,
    layer_tools.runs_with_other_weights,
    layer_tools.compiles_as_one_graph,
    layer_tools.exports,
    layer_tools.runs_as_an_ensemble,
    layer_answers.refuses_a_wrong_shape_with_a_sentence,
    layer_answers.routing_is_a_choice,
)


def check(
    make: Callable[[], nn.Module] | None, example: Example | None = None, only: Sequence[str] = ()
) -> dict[str, str]:
    """Run the contract on a layer; property name -> "passed", "exempt: why" or the sentence of its failure.

    `only` names the properties to look at, all where it is empty. A layer whose `forward` states no shapes needs an
    example that makes its inputs: batch first, width last, of three axes the middle one the tokens.
    """
    if example is None:
        if make is None:
            raise ValueError("check needs a function that makes the layer, or an Example.")
        example = Example(make)
    report = {}
    for prove in PROPERTIES:
        name = prove.__name__.replace("_", " ")
        if only and name not in only:
            continue
        if name in example.exempt:
            report[name] = f"exempt: {example.exempt[name]}"
            continue
        try:
            why_not = prove_on(prove, example)
            report[name] = f"exempt: {why_not}" if why_not else "passed"
        except Exception as error:  # a report on anyone's layer: whatever it raises is the finding
            report[name] = sentence(error)
    return report
