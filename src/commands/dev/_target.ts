import {Args} from '@oclif/core';
import type {DevRole} from '../../roles/dev/main.js';

/** `data 3`, `meta 1`, `mount`. */
export const targetArgs = {
  role: Args.string({
    required: true,
    options: ['meta', 'data', 'mount', 'etcd'],
    description: 'what',
  }),
  index: Args.integer({default: 1, min: 1, description: 'which one, from 1'}),
};

export const roleOf = (text: string): DevRole => text as DevRole;
