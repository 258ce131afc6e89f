import type {BufferPool} from '../../base/pool.js';
import {OPS} from '../../protocol/ops.js';
import {Handlers} from '../../transport/handlers.js';
import {steer} from '../../transport/steer.js';
import {permitted} from '../permits.js';
import {backtrace, backtraceMarks, backtraceRead} from './backtraces.js';
import {badBlock} from './bad-block.js';
import type {DataContext} from './context.js';
import {delta} from './delta.js';
import {doubt} from './doubt.js';
import {changed, exportColumn} from './export.js';
import {list} from './list.js';
import {missedClear} from './missed-clear.js';
import {punch} from './punch.js';
import {read} from './read.js';
import {remove} from './remove.js';
import {removeColumn} from './remove-column.js';
import {settle} from './settle.js';
import {stat} from './stat.js';
import {sums} from './sums.js';
import {sync} from './sync.js';
import {truncate} from './truncate.js';
import {watch} from './watch.js';
import {write} from './write.js';

/** What a session may ask: a client's, or that of a server's repair agent. */
export function sessionHandlers(pool: Pick<BufferPool, 'release'>): Handlers<DataContext> {
  return new Handlers<DataContext>(permitted(pool))
    .on(OPS.write, write)
    .on(OPS.delta, delta)
    .on(OPS.read, read)
    .on(OPS.sync, sync)
    .on(OPS.settle, settle)
    .on(OPS.truncate, truncate)
    .on(OPS.punch, punch)
    .on(OPS.stat, stat)
    .on(OPS.sums, sums)
    .on(OPS.list, list)
    .on(OPS.missedClear, missedClear)
    .on(OPS.remove, remove)
    .on(OPS.removeColumn, removeColumn)
    .on(OPS.badBlock, badBlock)
    .on(OPS.doubt, doubt)
    .on(OPS.watch, watch)
    .on(OPS.heartbeat, (_, {gate}) => ({message: {epoch: gate.map?.epoch ?? 0, resync: 0}}));
}

/** What another data server may ask that copies this one. */
export function copierHandlers(): Handlers<DataContext> {
  return new Handlers<DataContext>()
    .on(OPS.list, list)
    .on(OPS.exportColumn, exportColumn)
    .on(OPS.changed, changed);
}

/** What the meta server may ask, besides that a map be obeyed. */
export function metaHandlers(): Handlers<DataContext> {
  return new Handlers<DataContext>()
    .on(OPS.remove, remove)
    .on(OPS.backtrace, backtrace)
    .on(OPS.backtraceMarks, backtraceMarks);
}

/** What an administrator may ask, with or without a meta server (`cpfs meta rebuild`): nothing that changes anything that is stored. */
export function adminHandlers(): Handlers<DataContext> {
  return new Handlers<DataContext>()
    .on(OPS.list, list)
    .on(OPS.exportColumn, exportColumn)
    .on(OPS.backtraceMarks, backtraceMarks)
    .on(OPS.backtraceRead, backtraceRead)
    .on(OPS.steer, (request, {env}) => ({message: steer(env, request)}));
}
