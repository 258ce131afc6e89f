import {fstatSync} from 'node:fs';

/** Is this process's stderr a stream to systemd's journal? systemd.exec(5), JOURNAL_STREAM. */
export function logsToJournal(): boolean {
  const [device, inode] = (process.env.JOURNAL_STREAM ?? '').split(':');
  if (inode === undefined) return false;
  const {dev, ino} = fstatSync(process.stderr.fd, {bigint: true});
  return String(dev) === device && String(ino) === inode;
}
