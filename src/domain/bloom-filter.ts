/** How many bits of the filter an entry sets: the best number for some 14 bits an entry. */
const BITS_AN_ENTRY = 10

const utf8 = new TextEncoder()

/** Where an entry's bits stand in a filter of so many bytes. */
function bitsOf(entry: string, bytes: number): number[] {
  const text = utf8.encode(entry)
  const [start, step] = [mix(fnv1a(text, 0x811c9dc5)), mix(fnv1a(text, 0x01000193)) | 1]
  return Array.from(
    { length: BITS_AN_ENTRY },
    (_, index) => ((start + index * (step >>> 0)) >>> 0) % (bytes * 8),
  )
}

/** A Bloom filter that holds these entries. */
export function makeBloomFilter(entries: readonly string[], bytes: number): Uint8Array {
  const filter = new Uint8Array(bytes)
  for (const bit of entries.flatMap((entry) => bitsOf(entry, bytes))) {
    filter[bit >> 3] = (filter[bit >> 3] ?? 0) | (1 << (bit & 7))
  }
  return filter
}

/** Whether a Bloom filter holds an entry: true of each that it was made of, and of few others. */
export function mayHold(filter: Uint8Array, entry: string): boolean {
  return bitsOf(entry, filter.length).every((bit) => ((filter[bit >> 3] ?? 0) >> (bit & 7)) & 1)
}

/** FNV-1a in 32 bits. */
function fnv1a(text: Uint8Array, basis: number): number {
  return text.reduce((hash, byte) => Math.imul(hash ^ byte, 0x01000193), basis)
}

/** Spreads each bit over all (MurmurHash3's end): FNV's last bytes move only its low bits. */
function mix(hash: number): number {
  const half = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  const spread = Math.imul(half ^ (half >>> 13), 0xc2b2ae35)
  return (spread ^ (spread >>> 16)) >>> 0
}
