/* How many milliseconds the page takes to answer. */
async () => {
  const timed = async (act) => { const begin = performance.now(); await act(); document.body.offsetHeight; return performance.now() - begin; };
  const filter = document.getElementById("layers-table-filter");
  const sort = document.querySelectorAll("#layers-table .sort")[5];
  const zoom = document.querySelector("#time .controls button");
  return {
    sort: await timed(() => sort.click()),
    filter: await timed(() => { filter.value = "block7"; filter.dispatchEvent(new Event("input")); }),
    zoom: await timed(() => zoom.click()),
  };
}
