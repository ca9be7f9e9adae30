// What the algorithms of this folder need from outside. Included before a target region opens, so that all of it is baseline code.
#pragma once
#include <math.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/context.h"
#include "core/cpu_features.h"
#include "core/rng.h"
#include "core/slots.h"
#include "core/step_record.h"
#include "kernels/checks.h"
#include "kernels/kernel_table.h"
#include "kernels/loss_chunk.h"
#include "kernels/target_region.h"
