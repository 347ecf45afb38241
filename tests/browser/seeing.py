"""What people who see little, or use no mouse, would stumble over on a page.

WCAG 2.2: 1.4.3, 1.4.10, 1.4.11, 2.4.7, 4.1.2.
"""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

_LOOK = """() => {
  const found = [];
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = numbers(colour).map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = getComputedStyle(each).backgroundColor;
      if ((numbers(colour)[3] ?? 1) === 1) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const contrast = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  const seen = (element) => element.getClientRects().length > 0 && !element.closest(":disabled");
  const called = (element) => `${element.tagName} ${element.id} ${element.textContent.trim().slice(0, 30)}`;
  const typed = "input:not([type=hidden], [type=checkbox], [type=file]), select, textarea";
  for (const each of document.querySelectorAll("body *")) {
    if (!seen(each)) continue;
    const says = each.matches(typed) || [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (says && contrast(getComputedStyle(each).color, behind(each)) < 4.5) found.push(`faint: ${called(each)}`);
    if (each.matches(typed) && contrast(getComputedStyle(each).borderTopColor, behind(each.parentElement)) < 3)
      found.push(`no edge: ${called(each)}`);
    if (each.matches("input:not([type=hidden]), select, textarea") && !each.labels.length && !each.ariaLabel)
      found.push(`no label: ${called(each)}`);
    if (each.matches("a, button") && !each.textContent.trim() && !each.ariaLabel)
      found.push(`no name: ${called(each)}`);
  }
  const wide = document.documentElement.scrollWidth;
  if (wide > innerWidth) found.push(`wider than the screen: ${wide}`);
  return found;
}"""
_FOCUS = """() => {
  const element = document.activeElement;
  if (!element || element === document.body || element.dataset.walked) return null;
  element.dataset.walked = "yes";
  const { outlineStyle, outlineWidth } = getComputedStyle(element);
  return [`${element.tagName} ${element.id}`, outlineStyle !== "none" && parseFloat(outlineWidth) >= 2];
}"""


def stumbles(page: Page) -> list[str]:
    """Faint texts, fields without an edge, controls without a name, a page that is too wide."""
    found: list[str] = page.evaluate(_LOOK)
    return found


def walked(page: Page) -> list[str]:
    """What Tab reaches, in order. AssertionError where the focus cannot be seen."""
    page.evaluate("document.activeElement?.blur()")
    found: list[str] = []
    for _ in range(80):
        page.keyboard.press("Tab")
        at: Any = page.evaluate(_FOCUS)
        if at is None:
            # a date field has several stops of its own
            if page.evaluate("document.activeElement?.matches('input[type=date]') ?? false"):
                continue
            break
        assert at[1], f"the focus on {at[0]} cannot be seen"
        found.append(at[0])
    return found
