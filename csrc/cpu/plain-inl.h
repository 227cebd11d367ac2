// What a SIMD policy is, and what it inherits. Included in an anonymous namespace before each variant's `Simd`, which
// has
//   kLanes, Float, set, load, store, add, sub, mul, max
//   load_some(p, n)                        the first n lanes, the others 0
//   if_greater(a, b, value)                value in lanes with a > b, else 0
//   greater(a, b)                          bit i = lane i of a > b
//   any_nonzero(value)                     NaN is not zero
//   index(feature, first, size)            feature − first of kLanes pixels, within 0 … size − 1
//   Row, row(p, size), pick(row, index)    sample a crop row at kLanes indices
//   tile<kPairs>(low, high, x, weights, second_pair, threshold)
//                                          mask word of the tile at column x: bit 8·r + c is on if
//                                          lerp(low[x + c], high[x + c], weights[8·r + c]) > threshold, with the first
//                                          rows of samples, or the second in the bytes that `second_pair` has, or
//                                          (kPairs 8) row r's
//   add_bits(bytes, i, bits)               sets the kLanes bits of pixels i …, 8 pixels per byte
//   append_tiles(tiles, first, items, item)
//                                          adds first + t to the list for each byte t of the word that is not 0;
//                                          returns the list's new length
//   store_only(to, bits, from)             those of from's lanes that have a bit, side by side; returns how many
//   popcount(word)
//   count_bits<blocks>(masks, tiles, items, words, slots, count)
//                                          count[s] = Σ popcount(masks[i] & words[tiles[i]·slots + s]), s < 8·blocks

inline int64_t at_most(int64_t most, int64_t value) { return value < most ? value : most; }

inline int64_t clamp(int64_t value, int64_t most) { return value < 0 ? 0 : at_most(most, value); }

// a + f·(b − a), each operation rounded on its own (spec 1.3).
template <class S, class Float>
Float lerp(const Float& a, const Float& b, const Float& f) {
  return S::add(a, S::mul(f, S::sub(b, a)));
}

template <class S, class Float>
Float magnitude(const Float& value) {
  return S::max(value, S::sub(S::set(0.0f), value));
}

// What a policy can do without instructions for it: these become part of a Simd that inherits them.
template <class S>
struct Plain {
  template <int64_t kPairs, class Float>
  static uint64_t tile(const float* const* low, const float* const* high, int64_t x, const float* weights,
                       uint64_t second_pair, const Float& threshold) {
    uint64_t word = 0;
    for (int64_t r = 0; r < kTile; ++r) {
      const int64_t pair = kPairs == 1 ? 0 : kPairs == 2 ? second_pair >> (kTile * r) & 1 : r;
      for (int64_t c = 0; c < kTile; c += S::kLanes) {
        const auto a = S::load(low[pair] + x + c), b = S::load(high[pair] + x + c);
        const auto value = lerp<S>(a, b, S::load(weights + kTile * r + c));
        word |= static_cast<uint64_t>(S::greater(value, threshold)) << (kTile * r + c);
      }
    }
    return word;
  }
  static int64_t append_tiles(uint64_t tiles, int32_t first, int64_t items, int32_t* item) {
    for (int32_t t = 0; t < kTile; ++t) {
      item[items] = first + t;
      items += (tiles >> (kTile * t) & 0xff) != 0;
    }
    return items;
  }
  static int64_t store_only(float* to, uint32_t bits, const float* from) {
    int64_t stored = 0;
    for (; bits; bits &= bits - 1) to[stored++] = from[__builtin_ctz(bits)];
    return stored;
  }
};
