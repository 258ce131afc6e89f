// Goal: two mounts see each other's completed operations. Method: programs on both, compared at every step.
import {
  appendFileSync,
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import {open} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {setTimeout as sleep} from 'node:timers/promises';
import {afterAll, beforeAll, describe, expect, test} from '@jest/globals';
import {cpfs, DevCluster, shell} from '../support/dev-cluster.js';
import {buildFsop, Fsop} from '../support/mount-recorder.js';

let cluster: DevCluster;
let a: string;
let b: string;
beforeAll(async () => {
  cluster = await DevCluster.up();
  a = cluster.mount;
  b = await cluster.mountAgain('b');
}, 120_000);
afterAll(() => cluster?.down(), 60_000);

describe('two mounts', () => {
  test('what one wrote and closed the other reads, always (C61)', () => {
    for (let round = 0; round < 50; round++) {
      const [w, r] = round % 2 === 0 ? [a, b] : [b, a];
      const text = `round ${round} `.repeat((round * 97) % 2000);
      writeFileSync(join(w, 'file'), text);
      expect(readFileSync(join(r, 'file'), 'utf8')).toBe(text);
      expect(statSync(join(r, 'file')).size).toBe(text.length);
    }
  }, 60_000);

  test('names, sizes, appends and truncates', () => {
    mkdirSync(join(a, 'dir'));
    expect(existsSync(join(b, 'dir'))).toBe(true);
    writeFileSync(join(a, 'dir/x'), '1');
    renameSync(join(b, 'dir/x'), join(b, 'dir/y'));
    expect(readdirSync(join(a, 'dir'))).toEqual(['y']);
    for (let i = 0; i < 20; i++) appendFileSync(join(i % 2 ? a : b, 'dir/y'), `${i};`);
    expect(readFileSync(join(a, 'dir/y'), 'utf8')).toBe(
      `1${Array.from({length: 20}, (_, i) => `${i};`).join('')}`,
    );
    truncateSync(join(b, 'dir/y'), 3);
    expect(readFileSync(join(a, 'dir/y'), 'utf8')).toBe('10;');
    rmSync(join(a, 'dir'), {recursive: true});
    expect(existsSync(join(b, 'dir'))).toBe(false);
  });

  test('what the kernel of one mount remembers never outlives a change through the other (P20)', () => {
    mkdirSync(join(a, 'seen'));
    const names = (m: string): string => readdirSync(join(m, 'seen')).sort().join();
    for (let round = 0; round < 60; round++) {
      const [w, r] = round % 3 === 0 ? [b, a] : [a, b];
      const file = join('seen', `f${round % 7}`);
      // The reader's kernel has the answers: that there is such a name, or none, and its attributes.
      for (let i = 0; i < 3; i++) existsSync(join(r, file));
      if (existsSync(join(w, file))) {
        const {mode} = statSync(join(r, file));
        chmodSync(join(w, file), mode ^ 0o011);
        expect(statSync(join(r, file)).mode).toBe(mode ^ 0o011);
        renameSync(join(w, file), join(w, 'seen/moved'));
        expect(existsSync(join(r, file))).toBe(false);
        linkSync(join(w, 'seen/moved'), join(w, 'seen/other'));
        expect(statSync(join(r, 'seen/moved')).nlink).toBe(2);
        rmSync(join(w, 'seen/other'));
        expect(statSync(join(r, 'seen/moved')).nlink).toBe(1);
        rmSync(join(w, 'seen/moved'));
      } else {
        writeFileSync(join(w, file), 'x'.repeat(round));
        expect(statSync(join(r, file)).size).toBe(round);
      }
      expect(names(r)).toBe(names(w));
    }
    rmSync(join(a, 'seen'), {recursive: true});
  }, 60_000);

  test('a listing that the kernel keeps is read without the mount, and ends with the first change through the other', async () => {
    const scratch = mkdtempSync(join(tmpdir(), 'cpfs-listed-'));
    const program = new Fsop(buildFsop(scratch));
    mkdirSync(join(a, 'listed'));
    for (let i = 0; i < 300; i++) writeFileSync(join(a, `listed/f${i}`), '');
    const [root] = await program.call('root', join(a, 'listed'));
    const acl = program.call('getxattr', root!, 'system.posix_acl_access');
    await expect(acl).rejects.toMatchObject({errno: 'EOPNOTSUPP'});
    const label = program.call('getxattr', root!, 'security.selinux');
    await expect(label).rejects.toMatchObject({errno: 'EOPNOTSUPP'});
    // It stays open: opening it anew shows the kernel that it has changed.
    const [fd] = await program.call('opendir', root!);
    const names = async (): Promise<string[]> =>
      (await program.call('entries', fd!)).filter((_, i) => i % 3 === 0).sort();
    const kept = async (): Promise<void> => {
      await sleep(150);
      for (let i = 0; i < 2; i++) await names();
    };
    for (let round = 0; round < 15; round++) {
      await kept();
      const file = join(b, 'listed', `f${round % 4}`);
      if (round % 3 === 0) renameSync(join(b, `listed/f${round + 20}`), file);
      else if (existsSync(file)) rmSync(file);
      else writeFileSync(file, 'again');
      expect(await names()).toEqual(readdirSync(join(b, 'listed')).sort());
    }
    const {pid} = cluster.dev.mounts[0]!;
    let first: string[] | undefined;
    // On a busy machine it may take longer until it is kept.
    for (let tries = 0; first === undefined && tries < 4; tries++) {
      await kept();
      process.kill(pid, 'SIGSTOP');
      const listed = names();
      first = (await Promise.race([listed, sleep(2000)])) ?? undefined;
      process.kill(pid, 'SIGCONT');
      expect(first ?? (await listed)).toEqual(await listed);
    }
    expect(first).toHaveLength(readdirSync(join(b, 'listed')).length);
    program.end();
    rmSync(scratch, {recursive: true});
    rmSync(join(a, 'listed'), {recursive: true});
  }, 60_000);

  test('a link that was replaced on one mount says the new thing on the other, however long (P27)', () => {
    for (let round = 0; round < 10; round++) {
      const [w, r] = round % 2 === 0 ? [a, b] : [b, a];
      const target = `${round}`.repeat(1 + round * 400);
      rmSync(join(w, 'link'), {force: true});
      symlinkSync(target, join(w, 'link'));
      for (const mount of [r, w, r]) expect(readlinkSync(join(mount, 'link'))).toBe(target);
    }
  });

  test('both change one directory at once: nobody waits for the other for ever', async () => {
    mkdirSync(join(a, 'busy'));
    const loop = (m: string, who: string): Promise<unknown> =>
      shell(
        `set +e; for i in $(seq 150); do
           echo $i > ${who}$i && mv ${who}$i ${who}x && ls > /dev/null && stat -c %s * > /dev/null 2>&1
           ln -f ${who}x ${who}y && rm -f ${who}x; mkdir -p d && rmdir d 2>/dev/null; cat *y > /dev/null 2>&1
         done; true`,
        join(m, 'busy'),
        60_000,
      );
    await Promise.all([loop(a, 'a'), loop(b, 'b')]);
    expect(readdirSync(join(a, 'busy')).sort()).toEqual(['ay', 'by']);
    expect(readdirSync(join(b, 'busy')).sort()).toEqual(['ay', 'by']);
    expect(readFileSync(join(a, 'busy/by'), 'utf8')).toBe('150\n');
  }, 90_000);

  test('100 rounds of both writing interleaved ranges of one file: every byte is the latest of its writer', async () => {
    const PIECE = 5000;
    const PIECES = 40;
    writeFileSync(join(a, 'shared'), Buffer.alloc(PIECE * PIECES));
    const files = [await open(join(a, 'shared'), 'r+'), await open(join(b, 'shared'), 'r+')];
    const write = async (who: number, round: number) => {
      for (let piece = who; piece < PIECES; piece += 2 * 4) {
        await files[who]!.write(
          Buffer.alloc(PIECE, (round * 2 + who) & 255),
          0,
          PIECE,
          piece * PIECE,
        );
      }
    };
    for (let round = 0; round < 100; round++) {
      await Promise.all([write(0, round), write(1, round)]);
      const reader = round % 2 === 0 ? a : b;
      const bytes = readFileSync(join(reader, 'shared'));
      for (let piece = 0; piece < PIECES; piece++) {
        const owner = piece % 8;
        const expected = owner > 1 ? 0 : (round * 2 + owner) & 255;
        const part = bytes.subarray(piece * PIECE, (piece + 1) * PIECE);
        expect(part.every((x) => x === expected)).toBe(true);
      }
    }
    for (const file of files) await file.close();
  }, 120_000);
});

test('a mount with coherence=close-to-open reads what was closed before it opens, and sees names and attributes within 3 s', async () => {
  const loose = await cluster.mountAgain('loose', 'coherence=close-to-open');
  const of = (mount: string, name: string): string => join(mount, 'loose', name);
  mkdirSync(join(a, 'loose'));
  for (let round = 0; round < 40; round++) {
    const [w, r] = round % 4 === 3 ? [loose, a] : [a, loose];
    const text = `round ${round} `.repeat((round * 131) % 3000);
    writeFileSync(of(w, 'file'), text);
    expect(readFileSync(of(r, 'file'), 'utf8')).toBe(text);
  }
  const file = await open(of(loose, 'file'), 'r');
  appendFileSync(of(a, 'file'), 'more');
  const again = await open(of(loose, 'file'), 'r');
  expect((await again.stat()).size).toBe(statSync(of(a, 'file')).size);
  await file.close();
  await again.close();
  expect(existsSync(of(loose, 'later'))).toBe(false);
  writeFileSync(of(a, 'later'), 'x');
  chmodSync(of(a, 'file'), 0o600);
  renameSync(of(a, 'file'), of(a, 'other'));
  await sleep(3500);
  expect(readFileSync(of(loose, 'later'), 'utf8')).toBe('x');
  expect(existsSync(of(loose, 'file'))).toBe(false);
  expect(statSync(of(loose, 'other')).mode & 0o777).toBe(0o600);
  expect(readdirSync(join(loose, 'loose')).sort()).toEqual(['later', 'other']);
  const {stdout} = await cpfs('status', '--meta', cluster.meta);
  expect(stdout).toContain('loose coherence=close-to-open');
}, 60_000);
