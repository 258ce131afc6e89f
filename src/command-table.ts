import type {Command} from '@oclif/core';

export interface CommandModule {
  default: Command.Class;
}

/**
 * What can be typed after `cpfs`, with colons for blanks: each command, and how its module is loaded. A table and not a look at the folder, since an
 * executable has no folder; test/unit/commands/table.test.ts compares the two.
 */
export const COMMANDS: Readonly<Record<string, () => Promise<CommandModule>>> = {
  audit: () => import('./commands/audit.js'),
  'auth:create': () => import('./commands/auth/create.js'),
  'auth:forget': () => import('./commands/auth/forget.js'),
  'auth:revoke': () => import('./commands/auth/revoke.js'),
  'auth:rotate': () => import('./commands/auth/rotate.js'),
  'auth:show': () => import('./commands/auth/show.js'),
  'auth:use': () => import('./commands/auth/use.js'),
  check: () => import('./commands/check.js'),
  'client:evict': () => import('./commands/client/evict.js'),
  'client:leases': () => import('./commands/client/leases.js'),
  'client:list': () => import('./commands/client/list.js'),
  'client:locks': () => import('./commands/client/locks.js'),
  'cluster:shutdown': () => import('./commands/cluster/shutdown.js'),
  'cluster:start': () => import('./commands/cluster/start.js'),
  completion: () => import('./commands/completion.js'),
  'config:show': () => import('./commands/config/show.js'),
  'config:validate': () => import('./commands/config/validate.js'),
  'copies:set': () => import('./commands/copies/set.js'),
  'copies:status': () => import('./commands/copies/status.js'),
  'data:drain': () => import('./commands/data/drain.js'),
  'data:list': () => import('./commands/data/list.js'),
  'data:replace': () => import('./commands/data/replace.js'),
  'data:start': () => import('./commands/data/start.js'),
  'data:undrain': () => import('./commands/data/undrain.js'),
  'dev:down': () => import('./commands/dev/down.js'),
  'dev:kill': () => import('./commands/dev/kill.js'),
  'dev:start': () => import('./commands/dev/start.js'),
  'dev:status': () => import('./commands/dev/status.js'),
  'dev:up': () => import('./commands/dev/up.js'),
  'dev:wipe': () => import('./commands/dev/wipe.js'),
  events: () => import('./commands/events.js'),
  explain: () => import('./commands/explain.js'),
  'group:create': () => import('./commands/group/create.js'),
  'group:list': () => import('./commands/group/list.js'),
  'group:remove': () => import('./commands/group/remove.js'),
  health: () => import('./commands/health.js'),
  init: () => import('./commands/init.js'),
  join: () => import('./commands/join.js'),
  'layout:get': () => import('./commands/layout/get.js'),
  'layout:set': () => import('./commands/layout/set.js'),
  'log:set': () => import('./commands/log/set.js'),
  'log:show': () => import('./commands/log/show.js'),
  'maintenance:start': () => import('./commands/maintenance/start.js'),
  'maintenance:status': () => import('./commands/maintenance/status.js'),
  'maintenance:stop': () => import('./commands/maintenance/stop.js'),
  'meta:backup': () => import('./commands/meta/backup.js'),
  'meta:compact': () => import('./commands/meta/compact.js'),
  'meta:dump': () => import('./commands/meta/dump.js'),
  'meta:load': () => import('./commands/meta/load.js'),
  'meta:promote': () => import('./commands/meta/promote.js'),
  'meta:rebuild': () => import('./commands/meta/rebuild.js'),
  'meta:restore': () => import('./commands/meta/restore.js'),
  'meta:start': () => import('./commands/meta/start.js'),
  'meta:status': () => import('./commands/meta/status.js'),
  'mount-helper': () => import('./commands/mount-helper.js'),
  mount: () => import('./commands/mount.js'),
  'ok-to-stop': () => import('./commands/ok-to-stop.js'),
  rebalance: () => import('./commands/rebalance/index.js'),
  'rebalance:pause': () => import('./commands/rebalance/pause.js'),
  'rebalance:resume': () => import('./commands/rebalance/resume.js'),
  'rebalance:status': () => import('./commands/rebalance/status.js'),
  'rebalance:stop': () => import('./commands/rebalance/stop.js'),
  'recovery:pause': () => import('./commands/recovery/pause.js'),
  'recovery:resume': () => import('./commands/recovery/resume.js'),
  'recovery:set': () => import('./commands/recovery/set.js'),
  'recovery:status': () => import('./commands/recovery/status.js'),
  'scrub:pause': () => import('./commands/scrub/pause.js'),
  'scrub:resume': () => import('./commands/scrub/resume.js'),
  'scrub:set': () => import('./commands/scrub/set.js'),
  'scrub:start': () => import('./commands/scrub/start.js'),
  'scrub:status': () => import('./commands/scrub/status.js'),
  status: () => import('./commands/status.js'),
  'support:bundle': () => import('./commands/support/bundle.js'),
  'support:waiting': () => import('./commands/support/waiting.js'),
  'token:create': () => import('./commands/token/create.js'),
  'token:list': () => import('./commands/token/list.js'),
  'token:revoke': () => import('./commands/token/revoke.js'),
  umount: () => import('./commands/umount.js'),
  'upgrade:finalize': () => import('./commands/upgrade/finalize.js'),
  'upgrade:status': () => import('./commands/upgrade/status.js'),
  where: () => import('./commands/where.js'),
};

/**
 * Which commands oclif is to know of for these words: it wants the classes of all that it is told of, and to load all of them takes longer than most
 * commands run. Those that are not asked for are needed for overviews only.
 */
export function neededCommands(words: readonly string[]): string[] {
  const ids = Object.keys(COMMANDS);
  if (words[0] === '--version') return [];
  const end = words.findIndex((word) => word.startsWith('-'));
  const path = words.slice(0, end < 0 ? words.length : end);
  for (let count = path.length; count > 0; count--) {
    const id = path.slice(0, count).join(':');
    if (!Object.hasOwn(COMMANDS, id)) continue;
    // It speaks of all of them.
    if (id === 'completion') return ids;
    const isTopic = ids.some((other) => other.startsWith(`${id}:`));
    return isTopic && words.includes('--help') ? ids : [id];
  }
  return ids;
}
