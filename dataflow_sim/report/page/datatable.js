"use strict";
/* A table that sorts by any column, filters by what is typed, and saves what is shown as CSV. */

const ROWS_AT_ONCE = 300;

class DataTable {
  /* `columns` maps heads to columns of values, all of one length. */
  constructor(id, name, columns) {
    this.id = id;
    this.name = name;
    this.heads = Object.keys(columns);
    this.columns = Object.values(columns);
    this.length = this.columns.length ? this.columns[0].length : 0;
    this.texts = this.columns.map((column) => column.map((value) => numberText(value)));
    this.order = [...Array(this.length).keys()];
    this.sorted = null;
    this.down = false;
    this.limit = ROWS_AT_ONCE;
  }

  element() {
    this.filter = make("input", {
      type: "search", id: `${this.id}-filter`, placeholder: "name, operator, group 3, ...", oninput: () => this.show(),
    });
    this.count = make("span", { class: "count", role: "status" });
    this.body = make("tbody");
    this.more = make("button", { type: "button", onclick: () => { this.limit = Infinity; this.show(); } });
    this.headCells = this.heads.map((head, place) => make("th", { scope: "col", class: this.kind(place) },
      make("button", { type: "button", class: "sort", onclick: () => this.sortBy(place) }, head)));
    const controls = make("div", { class: "controls" },
      make("label", { for: `${this.id}-filter` }, "Filter "), this.filter, this.count,
      make("button", { type: "button", class: "csv", onclick: () => this.save() }, "Save as CSV"));
    const grid = make("table", { class: "data" },
      make("thead", {}, make("tr", {}, ...this.headCells)), this.body);
    this.show();
    return make("div", { class: "datatable", id: this.id }, controls,
      make("div", { class: "scroll tall", tabindex: 0, role: "region", "aria-label": this.name }, grid), this.more);
  }

  kind(place) {
    return typeof this.columns[place].find((value) => value !== null) === "number" ? "number" : null;
  }

  sortBy(place) {
    this.down = this.sorted === place ? !this.down : this.kind(place) === "number";
    this.sorted = place;
    const column = this.columns[place];
    const sign = this.down ? -1 : 1;
    const value = (row) => column[row];
    this.order.sort((a, b) => {
      const [one, other] = [value(a), value(b)];
      if (one === other) return a - b;
      if (one === null || one === undefined) return 1;
      if (other === null || other === undefined) return -1;
      return (one < other ? -1 : 1) * sign;
    });
    this.headCells.forEach((cell, i) => {
      if (i === place) cell.setAttribute("aria-sort", this.down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
    this.show();
  }

  /* Rows of which some cell, or a head with its cell such as `group 3`, holds what is typed. */
  matching() {
    const wanted = this.filter.value.trim().toLowerCase();
    if (!wanted) return this.order;
    return this.order.filter((row) => this.heads.some((head, place) => {
      const text = this.texts[place][row].toLowerCase();
      return text.includes(wanted) || `${head} ${text}`.toLowerCase() === wanted;
    }));
  }

  show() {
    const rows = this.matching();
    const shown = rows.slice(0, this.limit);
    this.body.replaceChildren(...shown.map((row) => make("tr", {},
      ...this.texts.map((column, place) => make("td", { class: this.kind(place) }, column[row])))));
    this.count.textContent = `${rows.length.toLocaleString("en-US")} of ${this.length.toLocaleString("en-US")}`;
    this.more.hidden = shown.length === rows.length;
    this.more.textContent = `Show all ${rows.length.toLocaleString("en-US")} rows`;
  }

  save() {
    const rows = this.matching().map((row) => this.columns.map((column) => column[row]));
    saved(`${this.name.replaceAll(/[^\w.-]+/g, "_")}.csv`, csvOf(this.heads, rows), "text/csv");
  }
}
