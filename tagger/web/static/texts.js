// The texts of scripts in the reader's language: a page has those that are not English. See tagger/web/templating.py.

const template = /** @type {HTMLTemplateElement | null} */ (document.getElementById("texts"));
const known = JSON.parse(template?.content.textContent ?? "{}");
export const language = document.documentElement.lang;
const rules = new Intl.PluralRules(language);

const grouped = new Intl.NumberFormat(language, { useGrouping: "always" }); // as the server writes 1.234 in Spanish, too

/** The number as people read it: “12,345”. */
export const number = (count) => grouped.format(count);

const fill = (text, values) => text.replace(/%\((\w+)\)s/g, (_, name) => values[name]);

/** The text in the reader's language, with the values in its placeholders. */
export const gettext = (text, values = {}) => fill(known[text] ?? text, values);

/** The text for a number, which is also the value of `%(count)s`. */
export function ngettext(one, more, count, values = {}) {
  const forms = known[one] ?? [one, more];
  return fill(rules.select(count) === "one" ? forms[0] : forms.at(-1), { count: number(count), ...values });
}

const day = new Intl.DateTimeFormat(language === "en" ? "en-GB" : language, { dateStyle: "long", timeZone: "UTC" });

const weekday = new Intl.DateTimeFormat(language, { weekday: "short", timeZone: "UTC" });

/** The day of a time as people read it: “3 June 2024”. */
export const dayText = (time) => day.format(dateOf(time));

/** Days as people read them: “3–9 June 2024”. */
const daysText = (first, last) => (first === last ? dayText(first) : day.formatRange(dateOf(first), dateOf(last)));

/** Days and the place of their photos: “Fri, 22 August 2025 · Athens”. */
export function headingText(first, last, place) {
  const days = first === last ? `${weekday.format(dateOf(first))}, ${dayText(first)}` : daysText(first, last);
  return place ? `${days} · ${place}` : days;
}

/** The time as people read it: “3 June 2024, 14:05”; that of a day alone is midnight. */
export const momentText = (time) => (time.endsWith("T00:00:00") ? dayText(time) : `${dayText(time)}, ${time.slice(11, 16)}`);

const dateOf = (time) => new Date(`${time.slice(0, 10)}T00:00:00Z`);

const percent = new Intl.NumberFormat(language, { style: "percent" });

/** A part of 1 as people read it: “83%”. */
export const part = (share) => percent.format(share);

/** “1 photo”, “12,345 photos”. */
export const photoCount = (count) => ngettext("%(count)s photo", "%(count)s photos", count);

/** “Eiffel Tower confirmed”: `verdict` is confirmed or rejected. */
export const verdictText = (name, verdict) => (verdict === "confirmed" ? gettext("%(name)s confirmed", { name }) : gettext("%(name)s rejected", { name }));
