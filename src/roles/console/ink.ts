/** Resolves when what Ink computes its layout with can be used: at once, but in the executable (packaging/bundle.mjs). */
export const layoutReady = (): Promise<void> => Promise.resolve();
