/* Texts whose ratio of luminances to what lies behind is below the one that WCAG 2.1 asks for: 4.5, of
   large texts 3.  Texts within plots are the drawing library's. */
() => {
  const channel = (v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
  const parse = (text) => (text.match(/[\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const behind = (each) => {
    for (let node = each; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour.length === 3 || colour[3] > 0.5) return colour;
    }
    return [255, 255, 255];
  };
  const found = new Set();
  for (const each of document.querySelectorAll("body *")) {
    const own = [...each.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || each.closest("script, style, title, .plot, noscript")) continue;
    const style = getComputedStyle(each);
    const ink = each.namespaceURI.endsWith("svg") ? parse(style.fill) : parse(style.color);
    const [one, other] = [light(ink), light(behind(each))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < (parseFloat(style.fontSize) >= 24 ? 3 : 4.5)) found.add(`${each.tagName} ${each.className}: ${ratio.toFixed(2)}`);
  }
  return [...found];
}
