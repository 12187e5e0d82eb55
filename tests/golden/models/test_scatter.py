"""Heads on encoders whose tokens are pruned: a row of every token in its place, and [CLS] where it is read."""

import pytest
import torch
import transformers
from torch.nn import functional
from transformers import BertConfig, BertForTokenClassification, BertModel

from golden.host.algorithm import ALGORITHMS, Algorithm
from golden.host.session import Session
from golden.models.backend import replaced
from golden.models.errors import ModelError
from golden.models.load import SentenceModel
from hdl.spec.config import PRESETS
from tests.bench.tiny_models import SIZES, WordTokenizer, tiny_model
from tests.golden.models.test_backend import ENCODERS, TEXT, head_of, headed

TINY = PRESETS["tiny"]
IDS = torch.arange(3, 23).view(2, 10)
LAYERS = 4
THIN = Algorithm(attention=ALGORITHMS["dense"].attention, token_keep=(1.0, 0.8, 0.5, 0.3))
"""10 tokens, then 8, 5 and 3."""
PINNED = Algorithm(attention=THIN.attention, token_keep=THIN.token_keep, pin_first=1)
NORMED = ("modernbert", "esm")
"""Families with a norm after the last layer."""
BY_TOKEN = ("ForTokenClassification", "ForMaskedLM", "ForQuestionAnswering")


def encoder(name, head="Model"):
    """A random one of the family, of four layers, with a head."""
    config = ENCODERS[name][1]
    fields = config.to_diff_dict() | {"n_layers" if name == "distilbert" else "num_hidden_layers": LAYERS}
    fields.pop("layer_types", None)
    if name == "modernbert":
        fields["layer_types"] = ["full_attention"] * LAYERS
    torch.manual_seed(1)
    model = getattr(transformers, head_of(name, head))(type(config)(**fields)).eval()
    with torch.no_grad():  # attention that is not uniform
        for label, weight in model.named_parameters():
            if weight.dim() == 2 and "embed" not in label:
                weight.mul_(6)
    return model


def run(model, algorithm, **options):
    """(output, session) of a batch of two."""
    session = Session(algorithm, TINY)
    with torch.no_grad(), replaced(model, session):
        return model(input_ids=IDS, **options), session


def tokens_by_layer(session):
    """(B, k) the tokens that entered each layer."""
    ids = [torch.arange(IDS.shape[1]).expand(2, -1)]
    for layer in range(LAYERS - 1):
        ids.append(ids[-1].gather(1, session.survivors(layer)))
    return ids


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("name", ENCODERS)
def test_pruned_tokens_keep_their_last_states(name, first):
    """In the last hidden state and in those of all layers, whether the model collects states from before or not."""
    model = encoder(name)
    if not first:
        model(input_ids=IDS, output_hidden_states=True)
    output, session = run(model, PINNED, output_hidden_states=True)
    states, ids = output.hidden_states, tokens_by_layer(session)
    assert len(states) == LAYERS + 1 and {tuple(part.shape) for part in states} == {(2, 10, 32)}
    assert [part.shape[1] for part in ids] == [10, 8, 5, 3] and torch.equal(session.alive, ids[-1])
    for layer in range(LAYERS):
        for before, after, entered in zip(states[layer], states[layer + 1], ids[layer], strict=True):
            changed = (before != after).any(-1).nonzero().flatten().tolist()
            assert changed == entered.tolist() or (layer == LAYERS - 1 and name in NORMED)
    if name in NORMED:  # whose last states go through a norm, those of pruned tokens too
        assert not torch.equal(output.last_hidden_state, states[-2])
    else:
        assert torch.equal(output.last_hidden_state, states[-1])


@headed(BY_TOKEN)
def test_heads_by_token_have_a_row_for_each(name, head):
    """The head's own of the states, and near those of float attention where nothing is pruned."""
    model = encoder(name, head)
    kept = {}
    handle = model.base_model.register_forward_hook(lambda module, args, output: kept.update(states=output[0]))
    for algorithm in (THIN, PINNED, ALGORITHMS["dense"]):
        output, _ = run(model, algorithm)
        pruned = [value for key, value in output.items() if key.endswith("logits")]
        assert all(value.shape[:2] == (2, 10) for value in pruned)
        with torch.no_grad():
            want = [value for key, value in model(input_ids=IDS).items() if key.endswith("logits")]
        assert [value.shape for value in pruned] == [value.shape for value in want]
        error = sum((one - other).norm() / other.norm() for one, other in zip(pruned, want, strict=True))
        assert bool(error < 0.01) == (algorithm is ALGORITHMS["dense"])
    handle.remove()


def test_labels_of_all_tokens():
    model = BertForTokenClassification(BertConfig(**SIZES | {"num_hidden_layers": LAYERS})).eval()
    labels = torch.arange(20).view(2, 10) % 2
    output, _ = run(model, THIN, labels=labels)
    assert torch.equal(output.loss, functional.cross_entropy(output.logits.view(-1, 2), labels.view(-1)))


@pytest.mark.parametrize("name", ENCODERS)
def test_what_reads_the_first_token_reads_it(name):
    """A head of a text gets the states of [CLS] from the last layer, or is refused if [CLS] may be pruned."""
    model = encoder(name, "ForSequenceClassification")
    reader = "pooler" if name in ("bert", "albert") else "head"
    message = f"pin_first must be at least 1 for {type(model).__name__}, whose {reader} reads the first token, not 0"
    with pytest.raises(ModelError, match=f"^{message}$"):
        run(model, THIN)
    run(model, ALGORITHMS["dense"])
    states = []
    handle = model.base_model.register_forward_hook(lambda module, args, output: states.append(output[0]))
    output, session = run(model, PINNED)
    handle.remove()
    assert (session.alive[:, 0] == 0).all()
    with torch.no_grad():
        alone = model.base_model
        forward, alone.forward = alone.forward, lambda *args, **kwargs: _only(states[0][:, :1], alone)
        want = model(input_ids=IDS[:, :1]).logits
        alone.forward = forward
    assert torch.allclose(output.logits, want, atol=1e-6)


def _only(states, model):
    """An output of a base model, with the states of the first token alone."""
    pooled = None
    if getattr(model, "pooler", None) is not None:
        pooled = model.pooler(states) if hasattr(model.pooler, "dense") else model.pooler(states[:, 0]).tanh()
    kind = transformers.modeling_outputs.BaseModelOutputWithPooling
    return kind(last_hidden_state=states, pooler_output=pooled)


def test_pooler():
    """Of an encoder without a head, too; who reads its states alone may do without it."""
    model = encoder("bert")
    output, _ = run(model, PINNED)
    assert torch.equal(output.pooler_output, model.pooler(output.last_hidden_state[:, :1]))
    message = "pin_first must be at least 1 for BertModel, whose pooler reads the first token, not 0"
    with pytest.raises(ModelError, match=message):
        run(model, THIN)
    model.pooler = None
    assert run(model, THIN)[0].last_hidden_state.shape == (2, 10, 32)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("algorithm", [THIN, PINNED])
def test_embeddings_are_means_over_survivors(name, algorithm):
    model = SentenceModel(encoder(name), WordTokenizer(), name="random")
    pooler = getattr(model.model, "pooler", None)
    session = Session(algorithm, TINY)
    got = model.embed(TEXT, session)
    assert getattr(model.model, "pooler", None) is pooler, "it is there again"
    ids, again = torch.tensor([model.encode(TEXT)]), Session(algorithm, TINY)
    if pooler is not None:
        model.model.pooler = None
    with torch.no_grad(), replaced(model.model, again):
        states = model.model(input_ids=ids).last_hidden_state
    assert torch.equal(session.alive, again.alive) and session.alive.shape[1] == 3
    want = functional.normalize(states[:, session.alive[0]].double().mean(1), dim=-1)
    assert torch.equal(got, want[0]) and not torch.allclose(got, model.embed(TEXT))


def test_a_failed_pass_leaves_nothing_behind():
    """The next pass, in a new context, prunes as the first one would have."""
    model = tiny_model(num_hidden_layers=LAYERS).model
    want, _ = run(model, PINNED)
    session = Session(PINNED, TINY)
    calls = []

    def fail(layer, config):
        calls.append(layer)
        if len(calls) == 3:
            raise RuntimeError("no engine")
        return Session(PINNED, TINY).execute(layer, config)

    session.execute = fail
    with pytest.raises(RuntimeError, match="no engine"), torch.no_grad(), replaced(model, session):
        model(input_ids=IDS)
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in model.encoder.layer)
    assert torch.equal(run(model, PINNED)[0].last_hidden_state, want.last_hidden_state)
    assert isinstance(model, BertModel)
