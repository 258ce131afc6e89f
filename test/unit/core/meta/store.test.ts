import {expect, test} from '@jest/globals';
import fc from 'fast-check';
import {LayeredStore} from '../../../../src/core/meta/store.js';
import {SimKv} from '../../../../src/core/sim/kv.js';

const key = fc.constantFrom('a', 'aa', 'b', 'ba', 'c', 'd', 'dd', 'e');
const act = fc.oneof(
  {weight: 6, arbitrary: fc.record({put: key, value: fc.nat(200)})},
  {weight: 3, arbitrary: fc.record({del: key})},
  fc.constant('begin' as const),
  fc.constant('finish' as const),
);

test('reads like one sorted map in all phases of a checkpoint', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(act, {maxLength: 40}), async (acts) => {
      let finish: (() => void) | null = null;
      const clock = {
        timer: (_: number, fire: () => void) => {
          finish = fire;
          return {cancel: () => {}};
        },
      };
      const store = new LayeredStore(new SimKv({float: () => 0}).attach(clock));
      const model = new Map<string, number>();
      let position = 0;
      let running: Promise<void> | null = null;
      const settle = async (): Promise<void> => {
        await Promise.resolve();
        finish?.();
        finish = null;
        await running;
        running = null;
      };
      for (const step of acts) {
        if (step === 'begin') {
          if (running === null)
            running = store.checkpoint({sequence: ++position, sum: 0}, Promise.resolve());
        } else if (step === 'finish') await settle();
        else if ('del' in step) {
          store.del(step.del);
          model.delete(step.del);
        } else {
          store.put(step.put, Uint8Array.of(step.value));
          model.set(step.put, step.value);
        }
        const sorted = [...model].sort(([a], [b]) => (a < b ? -1 : 1));
        for (const [from, to, limit] of [
          ['a', 'z', 99],
          ['aa', 'd', 99],
          ['a', 'z', 2],
          ['b', 'c', 1],
        ] as const) {
          const wanted = sorted.filter(([k]) => k >= from && k < to).slice(0, limit);
          expect(store.range(from, to, limit).map(([k, v]) => [k, v[0]])).toEqual(wanted);
        }
        for (const k of ['a', 'ba', 'e']) expect(store.get(k)?.[0]).toBe(model.get(k));
      }
      await settle();
      expect(store.checkpointing).toBe(false);
      expect(store.position.sequence).toBe(position);
    }),
    {numRuns: 300},
  );
});
