"use strict";

// The page of the warehouse. Everything that the service says is put in as text, never as HTML.

(() => {
  const byId = (id) => document.getElementById(id);
  const KEY = "gpwarehouse-key";
  const NUMBERS = new Set(["smallint", "integer", "bigint", "numeric", "real", "double precision", "oid"]);
  const isOpen = document.body.dataset.auth === "off";
  let running = null; // the query that runs
  let visit = 0; // counts keys: what was asked with an earlier one is not shown

  class Refused extends Error {
    constructor(status, detail) {
      super(detail);
      this.status = status;
    }
  }

  // Asking

  async function ask(path, { body, accept = "application/json", signal } = {}) {
    const headers = { Accept: `${accept}, application/problem+json` };
    const key = sessionStorage.getItem(KEY);
    if (key) headers.Authorization = `Bearer ${key}`;
    const options = { headers, signal, cache: "no-store" };
    if (body !== undefined) {
      options.method = "POST";
      options.body = JSON.stringify(body);
      headers["Content-Type"] = "application/json";
    }
    let answer;
    try {
      answer = await fetch(path, options);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refused(0, "The service does not answer. Is it running?");
    }
    const isProblem = (answer.headers.get("Content-Type") || "").startsWith("application/problem+json");
    if (!answer.ok && (isProblem || path !== "health")) throw await refusal(answer, isProblem);
    return answer;
  }

  async function refusal(answer, isProblem) {
    const problem = isProblem ? await answer.json() : { detail: `The service answered ${answer.status}.` };
    const id = (problem.instance || "").split(":").pop();
    const notes = [problem.sqlstate && `SQLSTATE ${problem.sqlstate}`, id && `query ${id}`].filter(Boolean);
    return new Refused(answer.status, problem.detail + (notes.length ? ` (${notes.join(", ")})` : ""));
  }

  // Showing

  function element(name, text, className) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  function shown(value) {
    return typeof value === "object" ? JSON.stringify(value) : String(value);
  }

  function fillCell(cell, value, column, isNumber) {
    if (value !== null && value !== undefined) cell.textContent = shown(value);
    else if (column.says !== false) cell.append(element("span", "NULL", "null"));
    if (isNumber) cell.className = "number";
  }

  // A table. A column with says: false tells no type and no NULL.
  function table(title, columns, rows) {
    const made = element("table");
    made.append(element("caption", title));
    const numeric = columns.map((column) => NUMBERS.has(column.type.replace(/\(.*/, "")));
    const head = made.createTHead().insertRow();
    columns.forEach((column, at) => {
      const cell = element("th", column.name, numeric[at] ? "number" : "");
      cell.scope = "col";
      if (column.says !== false) cell.append(element("small", column.type));
      head.append(cell);
    });
    const body = made.createTBody();
    for (const row of rows) {
      const line = body.insertRow();
      row.forEach((value, at) => fillCell(line.insertCell(), value, columns[at], numeric[at]));
    }
    const scroll = element("div", undefined, "scroll");
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", title);
    scroll.append(made);
    return scroll;
  }

  // A list of objects: a column for each field.
  function objects(title, list) {
    if (!list.length) return element("p", "None.", "hint");
    const names = Object.keys(list[0]);
    const type = (name) => (list.some((each) => typeof each[name] === "number") ? "numeric" : "text");
    const columns = names.map((name) => ({ name: name.replaceAll("_", " "), type: type(name), says: false }));
    return table(title, columns, readable(list.map((each) => names.map((name) => each[name]))));
  }

  function readable(rows) {
    const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)$/;
    return rows.map((row) => row.map((value) => (time.test(value) ? `${value.slice(0, 10)} ${value.slice(11, 19)}` : value)));
  }

  // Panels: each asks for its data. Where the service has no such endpoint there is no panel.

  async function fill(id, load) {
    const panel = byId(id);
    const content = panel.querySelector(".content");
    const mine = visit;
    try {
      const parts = [await load()].flat();
      if (mine !== visit) return;
      content.replaceChildren(...parts);
      panel.hidden = false;
    } catch (error) {
      if (mine !== visit) return;
      if (error.status === 401) throw error;
      content.replaceChildren(element("p", error.message, "error"));
      panel.hidden = error.status === 404;
    }
  }

  async function rowsOf(title, sql) {
    const found = await (await ask("query", { body: { sql } })).json();
    const columns = found.columns.map(({ name, type }) => ({ name: name.replaceAll("_", " "), type, says: false }));
    return found.rows.length ? table(title, columns, readable(found.rows)) : element("p", "Nothing yet.", "hint");
  }

  async function health() {
    const found = await (await ask("health")).json();
    const badge = byId("health-badge");
    badge.textContent = found.status;
    badge.className = `badge ${found.status}`;
    badge.hidden = false;
    if (found.status === "unknown") setTimeout(() => fill("health", health), 2000); // it was not asked yet
    const parts = [element("p", found.status === "unknown" ? "It is being asked …" : `The warehouse is ${found.status}.`)];
    if (found.reasons && found.reasons.length) {
      const list = element("ul");
      list.append(...found.reasons.map((reason) => element("li", reason)));
      parts.push(list);
    }
    const segments = found.segments || [];
    const facts = element("dl");
    for (const [name, value] of [
      ["server", found.server],
      ["revision", found.revision],
      ["package's revision", found.head],
      ["latency", found.latency_ms === undefined ? undefined : `${found.latency_ms} ms`],
      ["sessions", found.connections === undefined ? undefined : `${found.connections} of ${found.max_connections}`],
      ["segments up", segments.length ? `${segments.filter((each) => each.status === "u").length} of ${segments.length}` : undefined],
      ["asked", found.age_s === undefined ? undefined : `${found.age_s} s ago`],
    ]) {
      if (value !== undefined) facts.append(element("dt", name), element("dd", value));
    }
    return [...parts, facts];
  }

  async function tables() {
    return objects("Tables", await (await ask("tables")).json());
  }

  async function jobs() {
    const found = await (await ask("jobs")).json();
    const told = ({ kind, state, owner, created_at, finished_at, file, problem, progress, id }) => ({
      kind, state, owner, created_at, finished_at, rows: file ? file.rows : null, note: problem ? problem.detail : progress, id,
    });
    return objects("Jobs", found.jobs.map(told));
  }

  async function refresh() {
    const { loaded, batches } = document.body.dataset;
    const mine = visit;
    byId("refresh").disabled = true;
    try {
      await Promise.all([fill("health", health), fill("loaded", () => rowsOf("What is loaded", loaded))]);
      if (mine !== visit) return;
      showPanels(true);
      // One after another: a caller has few turns, and the user's own query needs one.
      const rest = [["batches", () => rowsOf("Last batches", batches)], ["tables", tables], ["jobs", jobs]];
      for (const [id, load] of rest) if (mine === visit) await fill(id, load);
    } catch (error) {
      if (mine === visit) refuseKey(error.message);
    } finally {
      if (mine === visit) byId("refresh").disabled = false;
    }
  }

  // The key

  function showPanels(areShown) {
    byId("panels").hidden = !areShown;
    byId("refresh").hidden = !areShown;
    byId("forget").hidden = !areShown || !sessionStorage.getItem(KEY);
    byId("entry").hidden = areShown;
  }

  function refuseKey(why) {
    visit += 1;
    if (running) running.abort();
    sessionStorage.removeItem(KEY);
    byId("health-badge").hidden = true;
    byId("said").textContent = "";
    byId("query-error").textContent = "";
    for (const content of document.querySelectorAll(".content, #result")) content.replaceChildren();
    showPanels(false);
    byId("key-error").textContent = why;
    byId("key").focus();
  }

  function useKey(event) {
    event.preventDefault();
    byId("key-error").textContent = "";
    const key = byId("key").value.trim();
    if (!/^[\x21-\x7e]+$/.test(key)) {
      byId("key-error").textContent = "A key has no spaces and no letters beyond ASCII.";
      return;
    }
    sessionStorage.setItem(KEY, key);
    byId("key").value = "";
    refresh();
  }

  // The query

  async function work(action) {
    if (running) running.abort();
    const mine = new AbortController();
    running = mine;
    byId("stop").disabled = false;
    byId("query-error").textContent = "";
    byId("said").textContent = "The query is running …";
    try {
      const said = await action(mine.signal);
      if (running === mine) byId("said").textContent = said;
    } catch (error) {
      if (running === mine) tellFailure(error);
    } finally {
      if (running === mine) {
        running = null;
        byId("stop").disabled = true;
      }
    }
  }

  function tellFailure(error) {
    byId("said").textContent = error.name === "AbortError" ? "The query was stopped." : "";
    if (error.status === 401) refuseKey(error.message);
    else if (error.name !== "AbortError") byId("query-error").textContent = error.message;
  }

  async function run(signal) {
    byId("result").replaceChildren();
    const body = { sql: byId("sql").value, max_rows: byId("rows").valueAsNumber };
    const found = await (await ask("query", { body, signal })).json();
    byId("result").replaceChildren(table("Result", found.columns, found.rows));
    const count = `${found.rows.length} ${found.rows.length === 1 ? "row" : "rows"} in ${found.elapsed_ms} ms.`;
    return found.truncated ? `${count} The result is truncated: there are more rows. A CSV has all.` : count;
  }

  async function download(signal) {
    const answer = await ask("analytics/query", { body: { sql: byId("sql").value }, accept: "text/csv", signal });
    const file = await answer.blob();
    const link = element("a");
    link.href = URL.createObjectURL(file);
    link.download = (/filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition")) || [])[1] || "query.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    return `${answer.headers.get("X-Rows")} rows, ${file.size} bytes: ${link.download}`;
  }

  byId("entry").addEventListener("submit", useKey);
  byId("refresh").addEventListener("click", refresh);
  byId("forget").addEventListener("click", () => refuseKey(""));
  byId("stop").addEventListener("click", () => running && running.abort());
  byId("csv").addEventListener("click", () => byId("query").reportValidity() && work(download));
  byId("query").addEventListener("submit", (event) => {
    event.preventDefault();
    work(run);
  });
  byId("sql").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    byId("query").requestSubmit();
  });

  if (isOpen) sessionStorage.removeItem(KEY);
  if (isOpen || sessionStorage.getItem(KEY)) refresh();
  else showPanels(false);
})();
