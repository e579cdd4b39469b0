"""The attention maps of any model, one input at a time: every layer and head, however many tokens."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from ipywidgets import BoundedIntText, Layout

from labkit.analysis.attention.attention_maps import attention_maps
from labkit.recording.batches import part_of, places_of
from labkit.widgets.array_explorer import ArrayExplorer
from labkit.widgets.cursor import Cursor
from labkit.widgets.explorer import Explorer, close_all
from labkit.workbench.looked_at import LookedAt, looked_at

TITLE = "Attention: who looks (rows) at whom (columns)"


class AttentionExplorer(Explorer):
    """Which token looks at which: rows are the tokens that look, columns the tokens that are looked at.

    `texts` names the tokens, one list for each input. Tokens are counted over all inputs, as in the other pictures, and
    the cursor's `token` leads to the input that it is in. Only the part that is in view travels to the browser.

    Raises: NothingRecorded when the model has no attention that can be read; LabError when batch or texts do not fit.
    """

    def __init__(self, model: Any, batch: Any, *, texts: Sequence[Any] | None = None, cursor: Cursor | None = None):
        self.model = model
        self.looked = batch if isinstance(batch, LookedAt) else looked_at(batch, texts=texts)
        if self.looked.words is not None and not isinstance(batch, LookedAt):
            starts = self.looked.starts()
            self.looked.words.check([self.looked.size, *(starts[-1:] if starts else [])])
        super().__init__(cursor, "token")
        self._starts = self.looked.starts()
        last = self.looked.size - 1
        style, layout = {"description_width": "initial"}, Layout(width="150px")
        self.input = BoundedIntText(min=0, max=last, description="Input", style=style, layout=layout)
        if not last:
            self.input.layout.display = "none"
        self.children = [self.input, self.told, self.place]
        self.place.children = [self._explorer(0)]
        self.input.observe(lambda _change: self.in_turn(self._show), "value")

    def maps(self, input: int) -> xr.DataArray:
        """The weights for one input, without its padding: (layer, head, query, key), with the texts of its tokens."""
        batch = part_of(self.looked.batch, torch.tensor([input]))
        found = attention_maps(self.model, batch).isel(input=0, drop=True)
        words = self.looked.words.input(input) if self.looked.words is not None else []
        length, real = found.sizes["query"], places_of(batch)
        if found.sizes["key"] != length:
            return found
        if len(words) == length:
            found = found.assign_coords(looks=("query", words), seen=("key", words))
        if real is not None and real.shape[1] == length:
            kept = np.flatnonzero(real[0].cpu().numpy())
        else:
            kept = np.array([at for at, word in enumerate(words) if word != ""] if len(words) == length else [], int)
        found = found.isel(query=kept, key=kept) if 0 < len(kept) < length else found
        if self._counted(input, found.sizes["query"]):
            numbers = self._starts[input] + np.arange(found.sizes["query"])  # pyright: ignore[reportOptionalSubscript]
            found = found.assign_coords(query=numbers, key=numbers)
        return found

    def led(self) -> None:
        """Go to the input of the token at which the shared cursor is."""
        token = self.cursor.token
        if self._starts is None or not isinstance(token, int) or not 0 <= token < self._starts[-1]:
            return
        self.input.value = bisect_right(self._starts, token) - 1

    def _counted(self, input: int, length: int) -> bool:
        """Whether the map has as many tokens as this input, so that they can be counted over all inputs."""
        return self._starts is not None and self._starts[input + 1] - self._starts[input] == length

    def _explorer(self, input: int) -> ArrayExplorer:
        maps = self.maps(input)
        axes = {"query": "token"} if self._counted(input, maps.sizes["query"]) else {"query": "query"}
        return ArrayExplorer(maps, "query", "key", self.cursor, title=TITLE, axes=axes)

    def _show(self) -> None:
        before, new = self.place.children, self._explorer(self.input.value)
        self.told.value, self.place.children = "", [new]
        for one in before:
            close_all(one)
            one.close()
