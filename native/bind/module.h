#pragma once
#include <napi.h>

namespace lowrank {

/// Fills the exports of one environment (main thread or worker) and creates its engine state.
Napi::Object init_module(Napi::Env env, Napi::Object exports);

}  // namespace lowrank
