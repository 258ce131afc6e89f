import type {Log} from '../env/log.js';

/** A log that tells of objects whose unwritten bytes were given up: a recall was overdue, or the session is gone. */
export function losing(log: Log, lost: (oid: number, full: boolean) => void): Log {
  return {
    debug: (event, fields) => log.debug(event, fields),
    info: (event, fields) => log.info(event, fields),
    warn: (event, fields) => log.warn(event, fields),
    with: (fields) => losing(log.with(fields), lost),
    error: (event, fields) => {
      log.error(event, fields);
      if (event === 'data.lost' && fields !== undefined && 'bytes' in fields)
        lost(fields.oid as number, String(fields.reason).includes('ENOSPC'));
    },
  };
}
