// The module's entry. Everything that touches Node-API is in bind/.
#include "bind/module.h"

using lowrank::init_module;

NODE_API_MODULE(lowrank, init_module)
