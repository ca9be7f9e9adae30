const lowrank = require("lowrank");

import("./check.mjs").then(({ check }) => check(lowrank)).then((ok) => console.log(JSON.stringify({ ok })));
