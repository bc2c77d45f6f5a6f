"""The tiled image is a bijection, padded with zeros, and as large as the tile geometry says."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from eftraind import networks, params
from eftraind.plan import reshape, tiles
from eftraind.plan.bank import BankLayout

T = st.sampled_from([4, 8, 16])


@given(st.integers(1, 3), st.integers(1, 40), st.integers(1, 5), st.integers(1, 5), T)
def test_maps_round_trip(images, channels, rows, cols, t):
    x = np.random.default_rng(0).standard_normal((images, channels, rows, cols), dtype=np.float32)
    packed = reshape.pack_map(x, t)
    assert packed[0].size == tiles.map_words(channels, rows, cols, t)
    assert np.array_equal(reshape.unpack_map(packed, channels), x)
    assert np.count_nonzero(packed) == x.size


def test_map_address_is_the_documented_one():
    x = np.arange(2 * 20 * 3 * 5, dtype=np.float32).reshape(2, 20, 3, 5)
    flat, t = reshape.pack_map(x, 16).ravel(), 16
    for b, m, r, c in [(0, 0, 0, 0), (1, 17, 2, 4), (0, 15, 1, 3), (1, 3, 0, 1)]:
        address = b * 2 * 15 * t + (m // t) * 15 * t + (r * 5 + c) * t + m % t
        assert flat[address] == x[b, m, r, c]


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3, 5]), T)
def test_weights_round_trip(m, n, kernel, t):
    w = np.random.default_rng(1).standard_normal((m, n, kernel, 2), dtype=np.float32)
    lanes = tiles.input_lanes(n, t)
    packed = reshape.pack_weights(w, t, lanes)
    assert packed.size == tiles.weight_words(m, n, kernel, 2, lanes, t)
    assert np.array_equal(reshape.unpack_weights(packed, m, n), w)
    assert np.count_nonzero(packed) == w.size


@given(st.integers(1, 40), T, st.booleans())
def test_samples_have_the_stated_words(channels, t, u8):
    dtype = np.uint8 if u8 else np.float32
    x = np.ones((2, 3, 5, channels), dtype=dtype)
    rows = reshape.pack_samples(x, t)
    assert rows.shape == (2, tiles.sample_words(channels, 3, 5, t, u8=u8))
    assert rows.view(dtype).sum() == x.sum()


def test_banks_round_trip_for_every_shipped_network():
    for name in networks.names():
        graph = networks.load(name)
        weights = params.initial(graph, np.random.default_rng(2))
        for t in (4, 8, 16):
            layout = BankLayout.of(graph, t)
            back = layout.unpack(layout.pack(weights))
            assert weights.keys() == back.keys()
            assert all(np.array_equal(weights[key], back[key]) for key in weights)
