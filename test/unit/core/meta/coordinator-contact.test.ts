import {expect, test} from '@jest/globals';
import {CoordinatorContact} from '../../../../src/core/meta/coordinator-contact.js';
import {ManualClock} from '../../../support/manual-clock.js';
import {RecordingLog} from '../../../support/recording-log.js';

test('that the coordinator does not answer, and that it does again, is logged once each', async () => {
  const clock = new ManualClock();
  const log = new RecordingLog();
  const contact = new CoordinatorContact({clock, log});
  await clock.advance(5000);
  contact.heard();
  await clock.advance(700);
  expect(contact.awayMs).toBe(0);
  contact.lost('silence', 2100.4);
  await clock.advance(300);
  contact.lost('silence', 1800);
  expect(contact.awayMs).toBe(1000);
  contact.heard();
  contact.heard();
  expect(contact.awayMs).toBe(0);
  expect(log.lines).toEqual([
    {
      level: 'warn',
      event: 'coordinator.away',
      fields: {reason: 'silence', awayMs: 700, servesMs: 2100},
    },
    {level: 'info', event: 'coordinator.back', fields: {awayMs: 1000}},
  ]);
});
