// Target regions: the functions between LOWRANK_TARGET_BEGIN(isa) and LOWRANK_TARGET_END are compiled for `isa`, everything else of the
// file for the baseline. Standard headers are included before a region opens and no std:: template is instantiated inside one, so that
// no variant of a shared inline function can reach a machine that lacks the instructions.
// Bodies given to parallel_for are one-line lambdas that call a function of the region: some compilers do not give a lambda the target.
#pragma once

#if defined(__x86_64__) || defined(_M_X64)
#define LOWRANK_X86_64 1
#elif defined(__aarch64__) || defined(_M_ARM64)
#define LOWRANK_ARM64 1
#endif

#define LOWRANK_PRAGMA(text) _Pragma(#text)

#if defined(__clang__)
#define LOWRANK_TARGET_BEGIN(isa) LOWRANK_PRAGMA(clang attribute push(__attribute__((target(isa))), apply_to = function))
#define LOWRANK_TARGET_END LOWRANK_PRAGMA(clang attribute pop)
#elif defined(__GNUC__)
#define LOWRANK_TARGET_BEGIN(isa) LOWRANK_PRAGMA(GCC push_options) LOWRANK_PRAGMA(GCC target(isa))
#define LOWRANK_TARGET_END LOWRANK_PRAGMA(GCC pop_options)
#else  // MSVC accepts intrinsics anywhere
#define LOWRANK_TARGET_BEGIN(isa)
#define LOWRANK_TARGET_END
#endif

#if defined(__GNUC__)
#define LOWRANK_INLINE_MEMBER inline __attribute__((always_inline))
#define LOWRANK_NOINLINE __attribute__((noinline))
#define LOWRANK_UNROLL(n) LOWRANK_PRAGMA(GCC unroll n)
#else
#define LOWRANK_INLINE_MEMBER __forceinline
#define LOWRANK_NOINLINE __declspec(noinline)
#define LOWRANK_UNROLL(n)
#endif
#define LOWRANK_INLINE static LOWRANK_INLINE_MEMBER
