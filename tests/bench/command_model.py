"""What the command unit must give for a list of commands: each stream, item by item."""

from hdl.spec import payloads
from hdl.spec.formats import Code, Opcode
from hdl.spec.widths import DECAY_WIDTH
from tests.bench.commands import command_word, plan_word

__all__ = ["CommandModel"]


def limit(value, width, instead=None):
    return value if value < 1 << width else (1 << width) - 1 if instead is None else instead


class CommandModel:
    """``streams``: name -> items; of ``opened`` the number in the queue, the place in a pair and the code so far.

    Entries are numbered as they are handed out: 0, 1, … modulo the number of entries. ``append_codes``: of APPEND
    commands in turn.
    """

    def __init__(self, config, entries=8, append_codes=()):
        self.append_codes = iter(append_codes)
        self.config, self.entries, self.count = config, entries, 0
        self.first = None  # of a pair: (entry, job, ids)
        self.streams = {
            name: [] for name in ("opened", "closed", "open_head", "append", "layer", "job", "heads", "ids")
        }

    def run(self, number, command, plan, code, pair, heads, tokens):
        """One command; heads, tokens: its tables as lists of dictionaries (tokens None: not from a table)."""
        put = self.streams
        if self.first is not None and pair != 2:
            put["closed"].append({"entry": self.first[0], "code": int(Code.MALFORMED)})
            self.first = None
        entry = self.count % self.entries
        self.count += 1
        put["opened"].append({"entry": entry, "number": number, "pair": pair, "code": int(code)})
        alone = pair == 2 and self.first is None
        if code or alone or command["opcode"] in (Opcode.NOP, Opcode.FENCE):
            code = code or (Code.MALFORMED if alone else 0)
            put["closed"].append({"entry": entry, "code": int(code)})
            if self.first is not None:
                put["closed"].append({"entry": self.first[0], "code": int(code)})
                self.first = None
        elif command["opcode"] == Opcode.APPEND:
            put["append"].append({"entry": entry, "command": command_word(command), "plan": plan_word(plan)})
            put["closed"].append({"entry": entry, "code": next(self.append_codes)})
        elif command["opcode"] in (Opcode.LAYER, Opcode.SELECT):
            self.layer(entry, command, plan, heads, tokens)
        else:
            self.job(entry, command, plan, pair, heads, tokens)

    def layer(self, entry, command, plan, heads, tokens):
        config, put = self.config, self.streams
        layout = payloads.layer_descriptor(config)
        fields = {
            "job": self.descriptor(entry, command, plan, 0),
            "select": command["flags"]["select"],
            **{name: limit(command[name], layout[name].width) for name in ("token_keep", "num_heads", "head_keep")},
            **{name: limit(plan[name], layout[name].width) for name in ("pin_first", "pin_last")},
            "decay": plan["decay"] & (1 << DECAY_WIDTH) - 1,
            **{f"{name}_stride": self.words(plan[f"{name}_stride"]) for name in ("query", "key", "key_lsb", "value")},
        }
        put["layer"].append(fields)
        put["ids"] += self.beats(tokens)
        for at, row in enumerate(heads):
            last = int(at == len(heads) - 1)
            put["heads"].append(self.head(row, last))
            put["open_head"].append({"entry": entry, "row": row, "last": last, "error": 0})

    def job(self, entry, command, plan, pair, heads, tokens):
        put = self.streams
        for at, row in enumerate(heads):
            put["open_head"].append({"entry": entry, "row": row, "last": int(at == len(heads) - 1), "error": 0})
        job = self.descriptor(entry, command, plan, pair)
        job |= {"scale": heads[0]["scale"], "shift": limit(heads[0]["shift"], 6, instead=0)}
        if pair == 1:
            self.first = entry, job, self.beats(tokens)
            return
        if pair == 2:
            put["job"].append(self.first[1])
            put["ids"] += self.first[2]
            self.first = None
        put["job"].append(job)
        put["ids"] += self.beats(tokens)

    def words(self, size):
        return limit(size // (self.config.channel_width // 8), self.config.address_width)

    def descriptor(self, entry, command, plan, pair):
        layout, flags = payloads.job_descriptor(self.config), command["flags"]

        def fit(name, value):
            return limit(value, layout[name].width)

        return {
            "job_id": entry,
            "group": fit("group", command["num_heads"]),
            "head": fit("head", command["head_keep"]),
            "list": flags["list"],
            "pair": pair,
            **{name: flags[name] for name in ("causal", "generation", "accumulate")},
            **{name: fit(name, command[name]) for name in ("num_keys", "num_queries", "num_rows", "value_keep")},
            **{
                name: fit(name, plan[name])
                for name in ("dim", "query_bits", "key_bits", "key_lsb_bits", "value_bits", "skew", "flat_limit")
            },
            "query_base": self.words(command["query"]),
            **{f"{name}_base": self.words(plan[name]) for name in ("key", "key_lsb", "value")},
        }

    def head(self, row, last):
        layout = payloads.head_entry(self.config)
        return {
            "head": limit(row["head"], layout["head"].width),
            "kv_head": limit(row["kv_head"], layout["kv_head"].width),
            "scale": row["scale"],
            "shift": limit(row["shift"], 6, instead=0),
            "weight": row["weight"],
            "importance": row["importance"],
            "last": last,
        }

    def beats(self, tokens):
        lanes, beats = self.config.lanes, []
        for at in range(0, len(tokens or ()), lanes):
            group = tokens[at : at + lanes]
            beats.append(
                {
                    "ids": [limit(token["id"], 16) for token in group],
                    "importance": [token["importance"] for token in group],
                    "count": len(group),
                    "last": int(at + lanes >= len(tokens)),
                }
            )
        return beats
