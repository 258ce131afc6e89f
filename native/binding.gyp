# The native modules: one target for each folder. Only addon.cpp of a folder includes napi.h; errors are
# napi exceptions that are thrown in JavaScript (C++ exceptions are off for all of them).
{
  'target_defaults': {
    'include_dirs': ['../node_modules/node-addon-api'],
    'defines': ['NAPI_VERSION=8', 'NAPI_DISABLE_CPP_EXCEPTIONS', 'NODE_ADDON_API_DISABLE_DEPRECATED', '_FILE_OFFSET_BITS=64'],
    'cflags': ['-Wall', '-Wextra', '-Wno-unused-parameter', '-fvisibility=hidden'],
    'cflags_cc!': ['-std=gnu++17', '-std=gnu++20'],
    'cflags_cc': ['-std=c++17', '-fno-exceptions', '-fno-rtti'],
    'default_configuration': 'Release',
    'configurations': {'Release': {'cflags': ['-O3'], 'ldflags': ['-s']}}
  },
  'targets': [
    {
      'target_name': 'codec',
      'sources': ['codec/core.cpp', 'codec/addon.cpp'],
      'libraries': ['-lisal'],
      # An executable carries the library beside the module.
      'ldflags': ["-Wl,-rpath,'$$ORIGIN'"]
    },
    {
      'target_name': 'disk',
      'sources': ['disk/core.cpp', 'disk/ring.cpp', 'disk/addon.cpp'],
      'libraries': ['-l:liburing.a']
    },
    {
      'target_name': 'fuse',
      'sources': ['fuse/core.cpp', 'fuse/notifier.cpp', 'fuse/addon.cpp']
    },
    {
      'target_name': 'system',
      'sources': ['system/core.cpp', 'system/addon.cpp']
    }
  ]
}
