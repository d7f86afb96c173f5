// Draws the report's charts from its tables. The tables are the data: what a chart shows is what a reader without
// scripts, a screen reader or a test finds in the page. Nothing is fetched.
(() => {
  "use strict";

  const DAY = 864e5;
  const SERIES = Array.from({ length: 8 }, (_, at) => `var(--c${at + 1})`);
  const FEW_DAYS = 62;
  const MANY_DAYS = 124;

  const dayOf = (text) => new Date(`${text}T00:00:00Z`);
  const iso = (date) => date.toISOString().slice(0, 10);
  const isNull = (text) => text === "" || text === "–";
  const numberOf = (text) => (isNull(text) ? null : Number(text.replaceAll(",", "")));

  const money = (value) => {
    const size = Math.abs(value);
    const [unit, word] = size >= 1e9 ? [1e9, " bn"] : size >= 1e6 ? [1e6, " m"] : size >= 1e3 ? [1e3, " k"] : [1, ""];
    return `$${(value / unit).toFixed(size >= 1e3 ? 2 : size >= 1 || size === 0 ? 0 : 2)}${word}`;
  };
  const tick = (value) => {
    const size = Math.abs(value);
    const [unit, word] = size >= 1e9 ? [1e9, "bn"] : size >= 1e6 ? [1e6, "m"] : size >= 1e3 ? [1e3, "k"] : [1, ""];
    return `$${Number((value / unit).toPrecision(3))}${word}`;
  };
  const percent = (value) => `${(100 * value).toFixed(1)}%`;
  const shown = (unit) => (unit === "usd" ? money : percent);

  // A table of days: one row a day, a column a group, and how many CSUs were measured.
  function daysOf(table) {
    const heads = [...table.tHead.rows[0].cells];
    const groups = heads.filter((head) => head.dataset.group !== undefined).map((head) => head.textContent);
    const at = (name) => heads.findIndex((head) => head.dataset.column === name);
    const days = [...table.tBodies[0].rows].map((row) => {
      const texts = [...row.cells].map((cell) => cell.textContent.trim());
      const values = groups.map((_, group) => numberOf(texts[1 + group]));
      const [measured, expected] = texts[at("measured")].split("/").map(Number);
      const count = at("count") < 0 ? null : numberOf(texts[at("count")]);
      const date = dayOf(texts[0]);
      return { date, next: new Date(+date + DAY), middle: new Date(+date + DAY / 2), values, measured, expected, count };
    });
    return { groups, days };
  }

  const longOf = ({ groups, days }) =>
    days.flatMap((day) => groups.map((group, at) => ({ ...day, group, value: day.values[at] })));
  const totalOf = (day) => {
    const known = day.values.filter((value) => value !== null);
    return known.length === 0 ? null : known.reduce((sum, value) => sum + value, 0);
  };

  // A tick for each day of a short run, in its middle; months come by themselves in a long one.
  function daysAxis(width, first, last, nDays) {
    const axis = { type: "utc", domain: [first, last], label: null };
    const room = Math.max(2, Math.floor(width / 70));
    if (nDays > FEW_DAYS) return { ...axis, ticks: room };
    const every = Math.ceil(nDays / room);
    const ticks = Array.from({ length: Math.ceil(nDays / every) }, (_, at) => new Date(+first + (at * every + 0.5) * DAY));
    const months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    return { ...axis, ticks, tickFormat: (date) => `${months[date.getUTCMonth()]} ${date.getUTCDate()}` };
  }

  // What every chart over days has in common.
  function frame(width, days, more) {
    return {
      width,
      height: width < 520 ? 240 : 280,
      marginLeft: 54,
      marginRight: 18,
      marginBottom: 30,
      style: { background: "none", color: "var(--ink)", fontFamily: "inherit", fontSize: "12px" },
      x: daysAxis(width - 70, days[0].date, days[days.length - 1].next, days.length),
      ...more,
    };
  }

  // Days on which the sum is not of all CSUs.
  const gaps = (days) =>
    Plot.rectX(days.filter((day) => day.measured < day.expected), { x1: "date", x2: "next", fill: "var(--gap)", className: "gap" });

  const tipOf = (days, words, y) =>
    Plot.tip(
      days,
      Plot.pointerX({ x: "middle", y, title: words, fill: "var(--card)", stroke: "var(--edge)", textPadding: 8, lineHeight: 1.3, maxRadius: 60 }),
    );
  const ruleOf = (days) => Plot.ruleX(days, Plot.pointerX({ x: "middle", stroke: "var(--dim)", strokeDasharray: "2,3" }));
  const measuredOf = (day) => `${day.measured} of ${day.expected} CSUs measured`;
  const wordsOf = (groups, unit) => (day) =>
    [
      iso(day.date),
      ...groups.map((group, at) => `${group}: ${day.values[at] === null ? "not measured" : shown(unit)(day.values[at])}`),
      ...(unit === "usd" && groups.length > 1 && totalOf(day) !== null ? [`together: ${money(totalOf(day))}`] : []),
      measuredOf(day),
    ].join("\n");
  const colour = (groups) => ({ domain: groups, range: SERIES, legend: groups.length > 1 });

  function stack(width, table, { unit }) {
    const { groups, days } = daysOf(table);
    const long = longOf({ groups, days });
    const layers =
      days.length > MANY_DAYS
        ? Plot.areaY(long, { x: "date", y: "value", fill: "group", curve: "step-after" })
        : Plot.rectY(long, { x1: "date", x2: "next", y: "value", fill: "group", inset: days.length > FEW_DAYS ? 0 : 0.5 });
    const top = unit === "usd" ? totalOf : () => 1;
    return Plot.plot(
      frame(width, days, {
        color: colour(groups),
        y: { grid: true, label: null, tickFormat: unit === "usd" ? tick : percent, domain: unit === "usd" ? undefined : [0, 1] },
        marks: [gaps(days), layers, Plot.ruleY([0], { stroke: "var(--edge)" }), ruleOf(days), tipOf(days, wordsOf(groups, unit), top)],
      }),
    );
  }

  function lines(width, table, { unit }) {
    const { groups, days } = daysOf(table);
    const long = longOf({ groups, days });
    const known = long.filter((cell) => cell.value !== null);
    const largest = (day) => Math.max(0, ...day.values.filter((value) => value !== null));
    return Plot.plot(
      frame(width, days, {
        color: colour(groups),
        y: { grid: true, label: null, tickFormat: percent, domain: [0, Math.max(0.1, ...known.map((cell) => cell.value)) * 1.05] },
        marks: [
          gaps(days),
          Plot.ruleY([0], { stroke: "var(--edge)" }),
          Plot.lineY(long, { x: "middle", y: "value", stroke: "group", z: "group", strokeWidth: 2 }),
          ...(days.length <= FEW_DAYS ? [Plot.dot(known, { x: "middle", y: "value", fill: "group", r: 3 })] : []),
          ruleOf(days),
          tipOf(days, wordsOf(groups, unit), largest),
        ],
      }),
    );
  }

  function log(width, table) {
    const { groups, days } = daysOf(table);
    const totals = days.map((day) => ({ ...day, total: totalOf(day) }));
    const some = totals.filter((day) => day.total > 0);
    if (some.length === 0) {
      const nothing = document.createElement("p");
      nothing.className = "nothing";
      nothing.textContent = totals.some((day) => day.total === 0) ? "No debt was repaid by liquidators on these days." : "Nothing was measured on these days.";
      return nothing;
    }
    const cells = longOf({ groups, days }).filter((cell) => cell.value > 0);
    const low = 10 ** Math.floor(Math.log10(Math.min(...cells.map((cell) => cell.value))));
    const high = Math.max(...some.map((day) => day.total)) * 1.6;
    const words = (day) =>
      [
        iso(day.date),
        ...groups.map((group, at) => `${group}: ${day.values[at] === null ? "not measured" : money(day.values[at])}`),
        `${day.count ?? "unknown"} liquidations`,
        measuredOf(day),
      ].join("\n");
    const isLong = days.length > FEW_DAYS;
    const base = (day) => (day.total > 0 ? day.total : low);
    return Plot.plot(
      frame(width, days, {
        color: colour(groups),
        y: { type: "log", domain: [low, Math.max(high, low * 10)], grid: true, label: null, tickFormat: tick, ticks: 4 },
        marks: [
          gaps(days),
          ...(isLong ? [] : [Plot.ruleX(some, { x: "middle", y1: low, y2: "total", stroke: "var(--stem)", strokeWidth: 2 })]),
          Plot.ruleY([low], { stroke: "var(--edge)" }),
          Plot.dot(cells, { x: "middle", y: "value", fill: "group", r: isLong ? 2 : 4, fillOpacity: isLong ? 0.8 : 1 }),
          Plot.dot(totals.filter((day) => day.total === 0), { x: "middle", y: low, r: isLong ? 2 : 3, stroke: "var(--dim)", fill: "var(--card)", className: "zero" }),
          ruleOf(days),
          tipOf(totals, words, base),
        ],
      }),
    );
  }

  // The heat map: runs of equal days from the table of coverage, walked by mouse or arrow keys.
  function runsOf(table) {
    return [...table.tBodies[0].rows].map((row) => {
      const texts = [...row.cells].map((cell) => cell.textContent.trim());
      const [csu, from, to, days, state, snapshot, scan, usd, reason] = texts;
      return { csu, from: dayOf(from), to: dayOf(to), next: new Date(+dayOf(to) + DAY), days, state, key: row.dataset.state, snapshot, scan, usd, reason };
    });
  }

  function coverage(width, table, { figure }) {
    const runs = runsOf(table);
    const csus = [...new Set(runs.map((run) => run.csu))];
    const first = new Date(Math.min(...runs.map((run) => +run.from)));
    const last = new Date(Math.max(...runs.map((run) => +run.next)));
    const nDays = Math.round((last - first) / DAY);
    const isNarrow = width < 520;
    const longest = Math.max(...csus.map((csu) => csu.length));
    const letters = isNarrow ? Math.min(longest, 16) : longest;
    const short = (csu) => (csu.length <= letters ? csu : `${csu.slice(0, letters - 7)}…${csu.slice(-6)}`);
    const step = csus.length > 80 ? 11 : csus.length > 30 ? 15 : 20;
    const keys = [...new Set(runs.map((run) => run.key))];
    const fontSize = step < 13 ? 9 : 11;
    const chart = Plot.plot({
      width,
      height: csus.length * step + 32,
      marginTop: 28,
      marginBottom: 4,
      marginRight: 18,
      marginLeft: 10 + letters * fontSize * 0.62,
      style: { background: "none", color: "var(--ink)", fontFamily: "inherit", fontSize: `${fontSize}px` },
      x: { ...daysAxis(width - letters * fontSize * 0.62, first, last, nDays), axis: "top" },
      y: { domain: csus, label: null, tickSize: 0, tickFormat: short, padding: step < 13 ? 0.12 : 0.18 },
      color: { domain: keys, range: keys.map((key) => `var(--s-${key})`) },
      marks: [
        Plot.barX(runs, { x1: "from", x2: "next", y: "csu", fill: "key", stroke: "var(--cell)", strokeWidth: 0.5 }),
        ...(nDays <= FEW_DAYS
          ? [Plot.ruleX(Array.from({ length: nDays - 1 }, (_, at) => new Date(+first + (at + 1) * DAY)), { stroke: "var(--card)", strokeWidth: nDays <= 16 ? 3 : 1.2 })]
          : []),
      ],
    });
    walk(chart, figure, { runs, csus, first, nDays });
    return chart;
  }

  // One tab stop; arrow keys, Home and End move over days and CSUs; the day under the cursor is told in words.
  function walk(chart, figure, { runs, csus, first, nDays }) {
    const note = figure.querySelector(".tip");
    const spoken = figure.querySelector("[aria-live]");
    const [x, y] = [chart.scale("x"), chart.scale("y")];
    const byCsu = Map.groupBy(runs, (run) => run.csu);
    const mark = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    mark.setAttribute("class", "cursor");
    chart.append(mark);
    let at = { csu: 0, day: 0 };

    const hide = () => {
      note.hidden = true;
      mark.removeAttribute("width");
    };
    function show({ csu, day }, aloud) {
      at = { csu, day };
      const date = new Date(+first + day * DAY);
      const run = byCsu.get(csus[csu]).find((run) => run.from <= date && date <= run.to);
      if (!run) return hide();
      const words = [
        `${run.csu}, ${iso(date)}: ${run.state}`,
        `snapshot ${run.snapshot}, liquidations ${run.scan}, USD ${run.usd}`,
        ...(run.reason === "" ? [] : [run.reason]),
        `the same from ${iso(run.from)} to ${iso(run.to)} (${run.days} days)`,
      ];
      note.replaceChildren(
        ...words.map((text, line) => Object.assign(document.createElement(line === 0 ? "strong" : "span"), { textContent: text })),
      );
      const [left, right] = [x.apply(date), x.apply(new Date(+date + DAY))];
      const top = y.apply(run.csu);
      for (const [name, value] of Object.entries({ x: left, y: top, width: Math.max(3, right - left), height: y.bandwidth })) {
        mark.setAttribute(name, value);
      }
      note.hidden = false;
      const scale = chart.getBoundingClientRect().width / chart.viewBox.baseVal.width;
      const room = figure.querySelector(".plot");
      const max = Math.max(0, room.clientWidth - note.offsetWidth - 4);
      note.style.left = `${Math.min(max, Math.max(0, left * scale + 12))}px`;
      note.style.top = `${(top + y.bandwidth) * scale + 8}px`;
      if (aloud) spoken.textContent = words.join(". ");
    }

    const pointed = (event) => {
      const box = chart.getBoundingClientRect();
      const scale = chart.viewBox.baseVal.width / box.width;
      const day = Math.floor((x.invert((event.clientX - box.left) * scale) - first) / DAY);
      const csu = csus.findIndex((name) => {
        const from = y.apply(name);
        const here = (event.clientY - box.top) * scale;
        return from <= here && here <= from + y.step;
      });
      return csu >= 0 && day >= 0 && day < nDays ? { csu, day } : null;
    };
    chart.addEventListener("pointermove", (event) => {
      const here = pointed(event);
      if (here) show(here, false);
      else hide();
    });
    chart.addEventListener("pointerleave", hide);
    chart.setAttribute("tabindex", "0");
    chart.addEventListener("focus", () => show(at, true));
    chart.addEventListener("blur", hide);
    chart.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -nDays], End: [0, nDays] };
      if (event.key === "Escape") return hide();
      const move = moves[event.key];
      if (!move) return;
      event.preventDefault();
      const within = (value, count) => Math.min(count - 1, Math.max(0, value));
      show({ csu: within(at.csu + move[0], csus.length), day: within(at.day + move[1], nDays) }, true);
    });
  }

  const KINDS = { stack, lines, log, coverage };

  function draw(figure) {
    const room = figure.querySelector(".plot");
    const width = Math.floor(room.clientWidth);
    if (width === 0 || figure.dataset.width === String(width)) return;
    figure.dataset.width = String(width);
    const table = document.getElementById(figure.dataset.table);
    const chart = KINDS[figure.dataset.chart](width, table, { unit: figure.dataset.unit, figure });
    const svg = chart.matches("svg") ? chart : chart.querySelector(":scope > svg:last-of-type");
    if (svg) {
      svg.setAttribute("role", "img");
      // An image is one thing to a screen reader: its parts have no names of their own.
      for (const part of svg.querySelectorAll("g[aria-label]")) {
        part.dataset.mark = part.getAttribute("aria-label");
        for (const name of ["aria-label", "aria-description"]) part.removeAttribute(name);
      }
      svg.setAttribute("aria-label", `${figure.querySelector("figcaption h3, figcaption h2").textContent}. The figures are in the table below the chart.`);
    }
    room.querySelector(":scope > .drawing").replaceChildren(chart);
    figure.dataset.drawn = "yes";
  }

  // A click on a heading sorts; numbers by size, words by letter, what is not there last.
  function sortable(table) {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    for (const head of table.tHead.rows[0].cells) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") === "descending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const isNumber = head.classList.contains("n");
        const value = (row) => {
          const text = row.cells[head.cellIndex].textContent.trim();
          return isNumber ? numberOf(text) : text;
        };
        const order = (one, other) => {
          const [a, b] = [value(one), value(other)];
          if (a === null || b === null) return (a === null) - (b === null);
          const by = a < b ? -1 : a > b ? 1 : 0;
          return up ? by : -by;
        };
        body.append(...rows.toSorted(order));
      });
    }
  }

  const figures = [...document.querySelectorAll("figure[data-chart]")];
  const watch = new ResizeObserver((entries) => {
    for (const entry of entries) requestAnimationFrame(() => draw(entry.target.closest("figure")));
  });
  for (const figure of figures) {
    draw(figure);
    watch.observe(figure.querySelector(".plot"));
  }
  for (const table of document.querySelectorAll("table.sortable")) sortable(table);

  // A link to something inside a closed part opens it; paper shows everything.
  const open = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const details = target && target.closest("details");
    if (details) details.open = true;
  };
  addEventListener("hashchange", open);
  open();
  document.documentElement.dataset.ready = "yes";
})();
