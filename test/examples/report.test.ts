import { inflateSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { type ReportData, renderReport } from "../../examples/report.js";
import { pngDataUri } from "../../examples/report-png.js";
import { count, escapeHtml, fileSize, percent, seconds, short } from "../../examples/report-text.js";
import { renderChart } from "../../lib/cli/report-chart.js";

const EVIL = `"><script>alert('x')</script><img src=https://example.org/&amp;\u0000`;
const pixels = Uint8Array.from({ length: 6 }, (_, i) => i * 50);

function reportWith(text: string): ReportData {
  return {
    title: text,
    lead: text,
    facts: [{ label: text, value: text, note: text }],
    charts: [{ title: text, xLabel: text, yLabel: text, series: [{ name: text, points: [[0, 1], [1, 2]] }] }], // biome-ignore format: one line
    table: [{ task: text, rows: [{ method: text }] }],
    samples: [{ title: text, note: text, rows: 2, cols: 3, items: [{ image: pixels, label: 1, before: 2, after: 1 }] }],
    settings: [[text, text]],
  };
}

const full: ReportData = {
  ...reportWith("plain"),
  table: [
    {
      task: "strong",
      rows: [
        {
          method: "LoRA",
          trainedNumbers: 10448,
          fileBytes: 42612,
          seconds: 1.234,
          oldTask: { before: 0.997, after: 0.95 },
          newTask: { before: 0.1, after: 0.971 },
        },
        { method: "all", trainedNumbers: 203530, newTask: { before: 0.1, after: 0.985 } },
      ],
    },
  ],
};

/** Every element that is opened is closed, in order; attributes are quoted. Returns the names of all elements. */
function elements(html: string): string[] {
  const alone = new Set(["meta", "img", "!doctype"]);
  const open: string[] = [];
  const names: string[] = [];
  const body = html.replace(/<style>[^<]*<\/style>/, "<style></style>");
  for (const [tag, closing, name = "", attributes = "", selfClosed] of body.matchAll(
    /<(\/?)([a-z0-9!]+)((?:\s+[A-Za-z-]+(?:="[^"<>]*")?)*)\s*(\/?)>/g,
  )) {
    expect(attributes.includes("<"), tag).toBe(false);
    if (closing) expect(open.pop(), `closed by ${tag}`).toBe(name);
    else {
      names.push(name);
      if (!alone.has(name) && !selfClosed) open.push(name);
    }
  }
  expect(open).toEqual([]);
  expect(body.match(/</g)?.length, "every < begins a well-formed tag").toBe(
    body.match(/<(\/?)([a-z0-9!]+)((?:\s+[A-Za-z-]+(?:="[^"<>]*")?)*)\s*(\/?)>/g)?.length,
  );
  return names;
}

describe("renderReport", () => {
  it("is one well-formed page without scripts and without anything to fetch", () => {
    const html = renderReport(full);
    expect(elements(html)).not.toContain("script");
    expect(html).not.toMatch(/https?:|@import|url\(|<link|<iframe| on[a-z]+=/);
    for (const [, source] of html.matchAll(/ (?:src|href)="([^"]*)"/g)) expect(source).toMatch(/^data:image\/png;base64,/);
  });

  it("escapes every text, wherever it stands", () => {
    const html = renderReport(reportWith(EVIL));
    expect(elements(html)).toEqual(elements(renderReport(reportWith("plain"))));
    expect(html).not.toContain("<script");
    expect(html).not.toContain("\u0000");
    const plain = renderReport(reportWith("plain")).match(/plain/g)?.length;
    expect(
      html.match(/&quot;&gt;&lt;script&gt;alert\(&#39;x&#39;\)&lt;\/script&gt;&lt;img src=https:\/\/example\.org\/&amp;amp;\ufffd/g)?.length,
    ).toBe(plain);
  });

  it("ids are unique and every aria reference points to one", () => {
    const html = renderReport({ ...full, charts: [...full.charts, ...full.charts], samples: [...full.samples, ...full.samples] });
    const ids = [...html.matchAll(/ id="([^"]*)"/g)].map(([, id]) => id);
    expect(new Set(ids).size).toBe(ids.length);
    const references = [...html.matchAll(/ aria-(?:labelledby|describedby)="([^"]*)"/g)].map(([, id]) => id);
    expect(references.length).toBeGreaterThan(8);
    for (const id of references) expect(ids).toContain(id);
  });

  it("the table has the measured values, dashes for what is missing, and one best cell", () => {
    const html = renderReport(full);
    const rows = [...html.matchAll(/<tr><th scope="row">(.*?)<\/tr>/g)].map(([, row = ""]) => row.replace(/<[^>]*>/g, "|").replace(/\|+/g, "|"));
    expect(rows[0]).toBe("LoRA|10,448|42.6\u202fkB|1.23\u202fs|99.7\u202f%|95.0\u202f%|▼ −4.7|10.0\u202f%|97.1\u202f%|▲ +87.1|");
    expect(rows[1]).toBe("all|203,530|–|–|–|–|10.0\u202f%|98.5\u202f%|▲ +88.5|");
    expect(html.match(/class="best"/g)).toHaveLength(1);
    expect(html).toMatch(/class="best">98\.5/);
  });

  it("marks predictions right and wrong, in words too", () => {
    const html = renderReport(full);
    expect(html).toMatch(/<dt>before<\/dt><dd>2 <span class="down"><span aria-hidden="true">✗<\/span><span class="hidden">wrong/);
    expect(html).toMatch(/<dt>after<\/dt><dd>1 <span class="up"><span aria-hidden="true">✓<\/span><span class="hidden">right/);
    expect(html).toContain("0 of 1 right before, 1 after.");
    expect(html).toContain('alt="Picture of the digit 1"');
  });

  it("leaves out sections without content", () => {
    const html = renderReport({ ...full, facts: [], charts: [], table: [], samples: [], settings: [] });
    expect(elements(html)).not.toContain("section");
    expect(elements(html)).not.toContain("dl");
  });

  it("refuses a sample of another size", () => {
    const bad = { ...full, samples: [{ title: "", rows: 28, cols: 28, items: [{ image: pixels, label: 1, before: 1, after: 1 }] }] };
    expect(() => renderReport(bad)).toThrowError(expect.objectContaining({ code: "BAD_SHAPE" }));
  });
});

describe("renderChart", () => {
  const draw = (points: [number, number][], more: Partial<Parameters<typeof renderChart>[0]> = {}): string =>
    renderChart({ title: "t", xLabel: "x", yLabel: "y", series: [{ name: "s", points }], ...more }, "c", () => 0);
  const path = (svg: string): string => svg.match(/class="line" d="([^"]*)" stroke="var\(--series-0\)"\/><circle/)?.[1] ?? "";
  const ticks = (svg: string): string[] => [...svg.matchAll(/dy="0.32em" text-anchor="end">([^<]*)</g)].map(([, text = ""]) => text);

  it("draws points where they belong: the plot spans x 70 to 546, y 274 (bottom) to 14 (top)", () => {
    const svg = draw([[0, 0], [5, 25], [10, 100]]); // biome-ignore format: one line
    expect(path(svg)).toBe("M70 274L308 209L546 14");
    expect(ticks(svg)).toEqual(["0", "20", "40", "60", "80", "100"]);
    expect(svg).toContain("<b>100</b>");
    expect(svg).toContain("Last values: s: 100");
  });

  it("log scale: decades evenly spaced, zero and below on the bottom edge", () => {
    const svg = draw([[0, 100], [1, 10], [2, 1], [3, 0], [4, -5]], { scale: "log" }); // biome-ignore format: one line
    expect(path(svg)).toBe("M70 14L189 144L308 274L427 274L546 274");
    expect(ticks(svg)).toEqual(["1", "10", "100"]);
    expect(ticks(draw([[0, 1], [1, 1e-300]], { scale: "log" })).length).toBe(9); // biome-ignore format: one line
  });

  it("percent: an axis of shares never goes beyond 100 %", () => {
    expect(ticks(draw([[0, 0.931], [1, 0.985]], { format: "percent" })).at(-1)).toMatch(/^9[89]\u202f%$|^100\u202f%$/); // biome-ignore format: one line
    expect(ticks(draw([[0, 0.1], [1, 1]], { format: "percent" }))).toEqual(["0", "20", "40", "60", "80", "100"].map((n) => `${n}\u202f%`)); // biome-ignore format: one line
  });

  it("values that are not finite are gaps, and the last finite value is the one shown", () => {
    const svg = draw([[0, 0], [1, 10], [2, Number.NaN], [3, 10], [4, Number.POSITIVE_INFINITY]]); // biome-ignore format: one line
    expect(path(svg).match(/M/g)).toHaveLength(2);
    expect(svg).toContain("<b>10</b>");
    expect(svg).not.toMatch(/NaN|Infinity/);
  });

  it("draws degenerate data without a broken number", () => {
    for (const points of [
      [],
      [[3, 0.5]],
      [
        [0, 7],
        [1, 7],
      ],
      [
        [0, 0],
        [0, 0],
      ],
      [[0, Number.NaN]],
      [
        [0, -1e-12],
        [1, 1e300],
      ],
    ] as [number, number][][]) {
      // biome-ignore format: one line
      for (const scale of ["linear", "log"] as const) {
        for (const format of ["number", "percent"] as const) {
          const svg = draw(points, { scale, format });
          expect(svg, JSON.stringify({ points, scale, format })).not.toMatch(/NaN|Infinity|undefined/);
          elements(svg);
        }
      }
    }
    elements(draw([], { series: [] }));
  });

  it("averages long series over runs of equal length and says so", () => {
    const svg = draw(Array.from({ length: 4000 }, (_, i): [number, number] => [i, i % 2]));
    expect(path(svg).match(/[ML]/g)).toHaveLength(400);
    expect(svg).toContain("<b>0.5</b>");
    expect(svg).toContain("Each point is the mean of up to 10 steps.");
  });
});

describe("pngDataUri", () => {
  it("is a PNG with these pixels, by a reader written from the specification", () => {
    const file = Buffer.from(pngDataUri(pixels, 2, 3).replace("data:image/png;base64,", ""), "base64");
    expect([...file.subarray(0, 8)]).toEqual([137, 80, 78, 71, 13, 10, 26, 10]);
    const chunks = new Map<string, Buffer>();
    let offset = 8;
    while (offset < file.length) {
      const length = file.readUInt32BE(offset);
      const typed = file.subarray(offset + 4, offset + 8 + length);
      expect(file.readUInt32BE(offset + 8 + length)).toBe(crcBitByBit(typed));
      chunks.set(typed.toString("latin1", 0, 4), typed.subarray(4));
      offset += 12 + length;
    }
    expect([...chunks.keys()]).toEqual(["IHDR", "IDAT", "IEND"]);
    expect([...(chunks.get("IHDR") ?? [])]).toEqual([0, 0, 0, 3, 0, 0, 0, 2, 8, 0, 0, 0, 0]);
    expect([...inflateSync(chunks.get("IDAT") ?? Buffer.alloc(0))]).toEqual([0, 0, 50, 100, 0, 150, 200, 250]);
  });
});

function crcBitByBit(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return (crc ^ 0xffffffff) >>> 0;
}

describe("text of numbers", () => {
  it("shows numbers as people read them", () => {
    expect([0, 1875, 0.0213456, 1e-7, 12345678, -3.17159, 2.5].map(short)).toEqual(["0", "1,875", "0.0213", "1e-7", "1.23e+7", "-3.17", "2.5"]);
    expect([0, 0.9973, 1, Number.NaN, undefined].map(percent)).toEqual(["0.0\u202f%", "99.7\u202f%", "100.0\u202f%", "–", "–"]);
    expect([0, 999, 1000, 42612, 814321, 3.2e9, 5e12].map(fileSize)).toEqual(
      ["0 B", "999 B", "1 kB", "42.6 kB", "814 kB", "3.2 GB", "5000 GB"].map((s) => s.replace(" ", "\u202f")),
    );
    expect([1.234, 0.0512, 121.9, undefined].map(seconds)).toEqual(["1.23\u202fs", "0.0512\u202fs", "122\u202fs", "–"]);
    expect(count(203530)).toBe("203,530");
    expect(escapeHtml(`<a href="x">&'`)).toBe("&lt;a href=&quot;x&quot;&gt;&amp;&#39;");
  });
});
