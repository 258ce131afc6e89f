import {describe, expect, test} from '@jest/globals';
import fc from 'fast-check';
import {ROOT_OID} from '../../../../src/core/base/ids.js';
import {HEADER_BYTES} from '../../../../src/core/meta/log.js';
import type {SimKv} from '../../../../src/core/sim/kv.js';
import {errnoOf, MetaFixture} from '../../../support/meta.js';
import {doStep, Objects, PROLOGUE, step} from '../../../support/meta-steps.js';

/** Everything in a store but where its log is and which ids are reserved: a start changes these. */
function contents(kv: SimKv): [string, string][] {
  const view = kv.attach({timer: () => ({cancel: () => {}})});
  return [...view.range('\0', '\xff', 1e9)]
    .filter(([key]) => key !== '\0position' && key !== 'mids')
    .map(([key, value]) => [key, Buffer.from(value).toString('latin1')]);
}

describe('after a restart', () => {
  test('the same log on an empty store gives byte for byte the same state', async () => {
    const stories = fc.array(step, {maxLength: 60, size: 'max'});
    await fc.assert(
      fc.asyncProperty(stories, fc.nat(50), async (steps, checkpointMs) => {
        const f = new MetaFixture(1, {checkpointMs: 5 + checkpointMs, segmentsKept: 1000});
        await f.play(async () => {
          await f.boot();
          f.session = await f.machine.createSession(Buffer.from('s'));
          const objects = new Objects();
          for (const s of [...PROLOGUE, ...steps]) {
            objects.add(s, (await doStep(f, s, objects)).made);
            await f.pass(2);
          }
          await f.machine.close();
          const checkpointed = contents(f.kv);
          f.kv.wipe();
          await f.boot();
          await f.machine.close();
          expect(contents(f.kv)).toEqual(checkpointed);
        });
      }),
      {numRuns: 60},
    );
  });

  test('a log that ends at any byte gives the whole batches before it', async () => {
    const f = new MetaFixture();
    await f.play(async () => {
      await f.boot();
      for (let i = 0; i < 6; i++) {
        f.session = 0;
        await f.mkdir(ROOT_OID, `d${i}`);
      }
      const [path] = f.host.disk.paths;
      const log = f.host.disk.peek(path!, 0, f.host.disk.file(path!)!.size);
      const view = new DataView(log.buffer);
      const ends: number[] = [];
      for (let at = 0; at < log.length; ) {
        at += HEADER_BYTES + view.getUint32(at, true);
        ends.push(at);
      }
      expect(ends).toHaveLength(8); // The format, the id range, six directories.
      for (let length = 0; length <= log.length; length++) {
        f.crash(false);
        f.kv.wipe();
        f.host.disk.wipe();
        f.host.disk.create(path!).write(0, log.slice(0, length));
        const whole = ends.filter((end) => end <= length).length;
        await f.boot();
        const names = Array.from({length: Math.max(0, whole - 2)}, (_, i) => `d${i}`);
        expect([length, f.names(ROOT_OID)]).toEqual([length, names]);
      }
    });
  });

  test('a power cut at any moment leaves a prefix of the changes, with all that was synced', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat(1e6),
        fc.array(fc.constantFrom<string>('make', 'make', 'make', 'sync', 'pass', 'kill', 'cut'), {
          minLength: 10,
          maxLength: 80,
          size: 'max',
        }),
        async (seed, story) => {
          const f = new MetaFixture(seed, {
            checkpointMs: 20,
            checkpointBytes: 600,
            segmentBytes: 400,
            segmentsKept: 1,
          });
          await f.play(() => powerStory(f, story));
        },
      ),
      // A segment whose removal a power cut undid, behind a log that had gone on without it.
      {numRuns: 300, examples: [[211150, 'kill make cut make pass make make cut cut'.split(' ')]]},
    );
  });
});

/** Makes f0, f1, ...; what has been synced is never missed, and never one without all before it. */
async function powerStory(f: MetaFixture, story: readonly string[]): Promise<void> {
  await f.boot();
  let made = 0;
  let safe = 0;
  for (const act of story) {
    if (act === 'make') {
      f.session = 0;
      await f.create(ROOT_OID, `f${made++}`);
    }
    if (act === 'sync') {
      await f.machine.sync();
      safe = made;
    }
    if (act === 'pass') await f.pass(7);
    if (act !== 'kill' && act !== 'cut') continue;
    f.crash(act === 'cut');
    await f.boot();
    expect(f.failures).toEqual([]);
    const names = f.names(ROOT_OID);
    expect(names).toEqual(Array.from({length: names.length}, (_, i) => `f${i}`));
    expect(names.length).toBeGreaterThanOrEqual(act === 'kill' ? made : safe);
    expect(f.machine.files).toBe(names.length + 1);
    expect(await errnoOf(() => f.lookup(ROOT_OID, `f${names.length}`))).toBe('ENOENT');
    made = names.length;
    safe = Math.min(safe, made);
  }
}
