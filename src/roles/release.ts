import {type Release, THIS_RELEASE} from '../core/base/features.js';
import {ownText} from '../core/os/program.js';

/** What of package.json the program itself uses. */
export const PACKAGE = JSON.parse(ownText('package.json')) as {
  name: string;
  version: string;
  oclif: Record<string, unknown>;
};

/** The version in package.json. */
export const RELEASE: string = PACKAGE.version;

export const OWN_RELEASE: Release = {...THIS_RELEASE, name: RELEASE};
