import {messageOf} from '../../core/base/errors.js';
import type {Log} from '../../core/env/log.js';
import type {Resolved} from './load.js';
import {KEYS, type Key, settingOf} from './schema.js';

/** What a running role needs of the configuration. */
export interface LiveSettings {
  logLevel: string;
  /** Where those who watch it ask; `off`. */
  admin: string;
  /** Reads the configuration again. */
  settings(): Promise<Resolved>;
}

/** At SIGHUP: reads the configuration again, and gives `apply` what is live. What is wrong then changes nothing. */
export async function reloadAtHangup(
  log: Log,
  role: LiveSettings,
  apply: (settings: Resolved) => void,
): Promise<void> {
  const started = await role.settings();
  process.on('SIGHUP', () => {
    role.settings().then(
      (now) => {
        const changed = KEYS.filter((key) => now.get(key) !== started.get(key));
        apply(now);
        log.info('config.reloaded', {});
        const later = changed.filter((key: Key) => settingOf(key).live !== true);
        if (later.length > 0) log.warn('config.restart_needed', {keys: later.join(' ')});
      },
      (error: unknown) => log.error('config.refused', {error: messageOf(error)}),
    );
  });
}
