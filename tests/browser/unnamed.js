/* Controls, pictures and regions that nothing names for a reader who cannot see them. */
() => [...document.querySelectorAll("input, select, button, a, [role=group], [role=img], [role=region], section")]
  .filter((each) => !each.closest(".modebar-container, .main-svg"))
  .filter((each) => !(each.labels && each.labels.length) && !each.getAttribute("aria-label")
    && !each.getAttribute("aria-labelledby") && !each.textContent.trim() && !each.hidden)
  .map((each) => each.outerHTML.slice(0, 120))
