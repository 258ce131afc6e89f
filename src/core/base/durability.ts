/**
 * What an answer to an fsync stands for, beside what every answer does (docs/architecture.md, Several meta servers). `disk`: the disk of the active
 * server; nobody waits for standbys, and none takes over by itself. `memory`: the memory of all standbys in sync, and the disk a second later; the disk
 * at once while there are none. `both`: both.
 */
export const DURABILITIES = ['disk', 'memory', 'both'] as const;
export type Durability = (typeof DURABILITIES)[number];
