import type {PoolShape} from '../base/pool.js';

/** As large as one program needs, so that pools run short now and then. */
export const META_POOL: PoolShape = {small: 64, medium: 8, large: 4};
export const DATA_POOL: PoolShape = {small: 256, medium: 32, large: 8};
export const CLIENT_POOL: PoolShape = {small: 256, medium: 64, large: 16};
