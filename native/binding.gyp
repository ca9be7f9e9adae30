{
  "targets": [
    {
      "target_name": "lowrank",
      "sources": ["<!@(node gyp-values.cjs sources <(target_arch))"],
      "include_dirs": [".", "<!@(node gyp-values.cjs include)"],
      "defines": [
        "NAPI_VERSION=8",
        "NAPI_CPP_EXCEPTIONS",
        "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS",
        "NODE_API_NO_EXTERNAL_BUFFERS_ALLOWED",
        "LOWRANK_VERSION=\"<!(node gyp-values.cjs version)\"",
        "<!@(node gyp-values.cjs defines)"
      ],
      "cflags_cc!": ["-fno-exceptions", "-fno-rtti", "-std=gnu++17", "-std=gnu++20"],
      "cflags_cc": [
        "-std=c++17",
        "-O3",
        "-fexceptions",
        "-ffp-contract=off",
        "-fno-math-errno",
        "-fvisibility=hidden",
        "-fvisibility-inlines-hidden",
        "-fstack-protector-strong"
      ],
      "conditions": [
        ["OS=='linux'", { "ldflags": ["-Wl,-z,relro,-z,now", "-Wl,--version-script=<(module_root_dir)/exports.map"], "libraries": ["-pthread"] }],
        [
          "OS=='mac'",
          {
            "xcode_settings": {
              "CLANG_CXX_LANGUAGE_STANDARD": "c++17",
              "CLANG_CXX_LIBRARY": "libc++",
              "GCC_ENABLE_CPP_EXCEPTIONS": "YES",
              "GCC_ENABLE_CPP_RTTI": "YES",
              "GCC_OPTIMIZATION_LEVEL": "3",
              "GCC_SYMBOLS_PRIVATE_EXTERN": "YES",
              "MACOSX_DEPLOYMENT_TARGET": "11.0",
              "OTHER_CPLUSPLUSFLAGS": ["-ffp-contract=off", "-fno-math-errno"]
            }
          }
        ],
        [
          "OS=='win'",
          {
            "defines": ["NOMINMAX", "WIN32_LEAN_AND_MEAN"],
            "msvs_settings": {
              "VCCLCompilerTool": { "ExceptionHandling": 1, "AdditionalOptions": ["/std:c++17", "/O2", "/Zc:preprocessor", "/fp:precise"] }
            }
          }
        ]
      ]
    }
  ]
}
