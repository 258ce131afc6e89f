{
  'target_defaults': {
    'cflags_cc': ['-std=c++17', '-O2', '-Wall', '-Wextra'],
    'defines': ['NAPI_VERSION=8'],
    'dependencies': ["<!(node -p \"require('node-addon-api').targets\"):node_addon_api"],
  },
  'targets': [
    {
      'target_name': 'fuse',
      'sources': ['fuse/core.cpp', 'fuse/notifier.cpp', 'fuse/addon.cpp'],
    },
  ],
}
