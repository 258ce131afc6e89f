import type {Disk, Journal} from '../../core/env/disk.js';
import type {Kv} from '../../core/env/kv.js';

/** The folder as it is: what would change it is left out. So the code that starts a server can be used to look at its files. */
export function frozenDisk(inner: Disk): Disk {
  return {
    open: (path) => inner.open(path, false),
    readFile: (path) => inner.readFile(path),
    list: (path) => inner.list(path),
    space: () => inner.space(),
    machineLife: () => inner.machineLife(),
    journal: (path) => frozenJournal(inner, path),
    lock: () => inner.lock(),
    close: () => inner.close(),
    writeFile: async () => {},
    remove: async () => true,
    removeTree: async () => {},
    syncAll: async () => {},
  };
}

async function frozenJournal(inner: Disk, path: string): Promise<Journal> {
  const bytes = (await inner.readFile(path)) ?? new Uint8Array(0);
  let size = bytes.length;
  return {
    get size() {
      return size;
    },
    append: (more) => {
      size += more.length;
    },
    read: async () => bytes,
    truncate: async (to) => {
      size = to;
    },
    sync: async () => {},
    close: async () => {},
  };
}

export function frozenKv(inner: Kv): Kv {
  return {
    get: (key) => inner.get(key),
    range: (...a) => inner.range(...a),
    write: async () => {},
    clear: async () => {},
    view: () => inner.view(),
    close: () => inner.close(),
  };
}
