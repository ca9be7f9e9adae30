import { loadTokenizer, renderExample } from "./lib/text/index.js";
import { readdirSync, existsSync, readFileSync, mkdtempSync } from "node:fs";
import * as lib from "@huggingface/tokenizers";
// hostile templates
const cfg = (t: string) => ({ "tokenizer.json": readFileSync("test/fixtures/text/gpt2-style/tokenizer.json"), "chat_template.jinja": t });
const big = '{% set ns = namespace(a="aaaaaaaaaaaaaaaa") %}{% for i in range(15) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}{% set x = ns.a %}';
const loop = (body: string) => big + '{% for k in range(80000) %}' + body + '{% endfor %}';
const T: Record<string,string> = {
 lup: loop('{% set y = x | upper %}'), ltrim: loop('{% set y = x.strip() %}'), lrep: loop('{% set y = x.replace("b","c") %}'), lin: loop('{% if "b" in x %}{% endif %}'), ltitle: loop('{% set y = x.title() %}'),
 lslice: loop('{% set y = x[1:] %}'), lsort: loop('{% set y = [x, x] | sort %}'), ljson: loop('{% set y = [x] | tojson %}'), luniq: loop('{% set y = range(80000) | unique %}'), lmap: loop('{% set y = [{"a": 1}] | map(attribute="a") | list %}'),
 lsel: big + '{% set r = range(80000) %}{% for k in range(80000) %}{% set y = r | reverse %}{% endfor %}', lrange: loop('{% set y = range(80000) %}'), lineq: big + '{% set r = range(80000) %}{% for k in range(80000) %}{% if "q" in r %}{% endif %}{% endfor %}', 
 lslice2: big + '{% set r = range(80000) %}{% for k in range(80000) %}{% set y = r[::2] %}{% endfor %}', lns: loop('{% set y = namespace(a=1) %}'), lsplit: loop('{% set y = x.split("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa") %}'), lstarts: loop('{% set y = x.startswith("b") %}'),

 nested: "{% for i in range(80000) %}{% for j in range(80000) %}{% endfor %}{% endfor %}",
 nestedbody: "{% for i in range(80000) %}{% for j in range(80000) %}x{% endfor %}{% endfor %}",
 hugeRange: "{% for i in range(10**10) %}x{% endfor %}",
 rangeset: "{% set r = range(80000) %}{% for j in range(1000) %}{% for i in r %}{% endfor %}{% endfor %}",
 mul: '{{ "a" * 10**9 }}',
 dbl: '{% set ns = namespace(a="aaaaaaaaaaaaaaaa") %}{% for i in range(60) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}{{ ns.a }}',
 dblList: '{% set ns = namespace(a=[1,2,3]) %}{% for i in range(60) %}{% set ns.a = ns.a + ns.a %}{% endfor %}{{ ns.a }}',
 dag: '{% set ns = namespace(a=[1]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a | tojson }}',
 cyc: '{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}',
 cyc2: '{% set ns = namespace() %}{% set ns.a = [ns, ns] %}{{ ns.a | tojson }}',
 macro: '{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}',
 macro2: '{% macro f(n) %}{% if n > 0 %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}',
 replace: '{% set ns = namespace(a="aaaaaaaaaaaaaaaa") %}{% for i in range(15) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}{{ ns.a.replace("", ns.a) | length }}',
 replace2: '{% set ns = namespace(a="aaaaaaaaaaaaaaaa") %}{% for i in range(15) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}{{ ns.a | replace("a", ns.a) | length }}',
 replace3: '{% set f = "aaaaaaaaaaaaaaaaaaaaaaaa".replace %}{% set ns = namespace(a="aaaaaaaaaaaaaaaa") %}{% for i in range(15) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}{{ f("a", ns.a) | length }}',
 join: '{% set ns = namespace(a="aaaaaaaaaaaaaaaa") %}{% for i in range(15) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}{{ range(80000) | join(ns.a) | length }}',
 indent: '{{ "a\nb" | indent(500000000) }}',
 tojson: '{{ [1,[2]] | tojson(indent=100000000) }}',
 sort: '{% set ns = namespace(a="aaaaaaaaaaaaaaaa") %}{% for i in range(15) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}{% for k in range(80000) %}{{ [ns.a, ns.a, ns.a] | sort | length }}{% endfor %}',
 eq: '{% set ns = namespace(a="aaaaaaaaaaaaaaaa", b="") %}{% for i in range(15) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}{% set ns.b = ns.a ~ "x" %}{% set ns.a = ns.a ~ "y" %}{% for k in range(80000) %}{% if ns.a == ns.b %}{% endif %}{% endfor %}',
 undef: '{% for k in range(80000) %}{% for l in range(100) %}{{ nope }}{% endfor %}{% endfor %}',
 macros: '{% for k in range(80000) %}{% macro f() %}' + '{{ a }}'.repeat(5000) + '{% endmacro %}{% endfor %}',
 parens: '{{ ' + '('.repeat(100000) + '1' + ')'.repeat(100000) + ' }}',
 ifs: '{% if a %}'.repeat(50000), elifs: '{% if a %}' + '{% elif b %}'.repeat(50000) + '{% endif %}',
 spaces: ' '.repeat(900000) + '{{ 1 }}', ws: (' '.repeat(250) + 'x').repeat(3900),
 open: '{% for m in messages %}{{ m.content }}', open2: '{{ messages', inc: '{% include "x" %}', imp: '{% from "x" import y %}', cons: `{{ ''.__class__.__mro__ }}{{ messages.constructor.constructor("return process")() }}`,
 cont: '{% for i in range(80000) %}{% continue %}{% endfor %}'.repeat(20), many: '{{ 1 }}'.repeat(130000),
 upper: '{% set ns = namespace(a="ŉŉŉŉŉŉŉŉŉŉŉŉŉŉŉŉ") %}{% for i in range(60) %}{% set ns.a = ns.a ~ ns.a | upper %}{% endfor %}', pow: '{{ 9**9**9**9 }}', 
 split: '{% set ns = namespace(a="aaaaaaaaaaaaaaaa") %}{% for i in range(16) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}{{ ns.a.split("a") | length }}',
};
for (const [k, t] of Object.entries(T)) { const tk = await loadTokenizer(cfg(t)); const t0 = performance.now(); let r; try { r = "OK " + tk.applyChatTemplate([{ role: "user", content: "hi" }]).slice(0, 60) } catch (e: any) { r = e.code + " " + e.message.slice(0, 140) } console.log(k.padEnd(10), Math.round(performance.now() - t0) + "ms", Math.round(process.memoryUsage().rss/1e6)+"MB", r); }
