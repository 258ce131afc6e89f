/** Chunks [from, to) of a generation of an object. */
export interface ObjectPart {
  oid: number;
  generation: number;
  from: number;
  to: number;
}

/** More than any chunk's number. */
export const CHUNKS_END = 0xffff_ffff;

/** The answer to `meta.exists`. An empty part tells the newest generation that was ever given. */
export interface Existence {
  missing: readonly number[];
  idsBelow: number;
  parts: readonly ObjectPart[];
}

/**
 * Whose a chunk is, as the meta server says. gone: nobody's, for ever, since neither ids nor generations are given twice; unknown: the meta server has
 * never given that id or generation, so its state is older than the chunk, and nothing is known to be gone.
 */
export function owners(
  said: Existence,
): (id: {oid: number; chunk: number; generation: number}) => 'somebody' | 'gone' | 'unknown' {
  const missing = new Set(said.missing);
  const parts = Map.groupBy(said.parts, ({oid}) => oid);
  return ({oid, chunk, generation}) => {
    if (oid >= said.idsBelow) return missing.has(oid) ? 'unknown' : 'somebody';
    if (missing.has(oid)) return 'gone';
    const its = parts.get(oid);
    if (its === undefined) return generation === 0 ? 'somebody' : 'unknown';
    const held = its.some(
      (part) => part.generation === generation && part.from <= chunk && chunk < part.to,
    );
    if (held) return 'somebody';
    return its.some((part) => part.generation >= generation) ? 'gone' : 'unknown';
  };
}
