import {readFileSync} from 'node:fs';
import {type Release, THIS_RELEASE} from '../core/base/features.js';

/** The version in package.json. */
export const RELEASE: string = (
  JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  }
).version;

export const OWN_RELEASE: Release = {...THIS_RELEASE, name: RELEASE};
