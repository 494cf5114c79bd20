/**
 * Copies the text of an input or another element; returns whether that worked. Otherwise the text is selected, to be copied by hand.
 * Browsers have a clipboard for scripts over HTTPS and on this machine only; elsewhere, the older command does it.
 */
export async function copyText(element) {
  try {
    await navigator.clipboard.writeText(element.value ?? element.textContent);
    return true;
  } catch {
    if (element instanceof HTMLInputElement) element.select();
    else getSelection().selectAllChildren(element);
    return document.execCommand("copy");
  }
}
