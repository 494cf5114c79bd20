"""Kinds of landmarks that people search for: a church, `Kirche` or `église` are those of all these names.

A landmark is of a kind if one of its names has a word for it. Words are those of the languages of date_words.
"""

from collections.abc import Collection

from tagger.search.matching import folded

_KINDS = """
church, churches, Kirche, Kirchen, -kirche, église, églises, iglesia, iglesias, igreja, igrejas, chiesa, chiese, kerk, kerken, गिरजाघर, =nhà thờ, \
cathedral, Kathedrale, -kathedrale, Dom, Münster, cathédrale, catedral, cattedrale, duomo, kathedraal, basilica, Basilika, basilique, basílica, \
abbey, Abtei, abbaye, abadía, abadia, abbazia, chapel, Kapelle, chapelle, capilla, capela, cappella
cathedral, cathedrals, Kathedrale, Kathedralen, -kathedrale, Dom, Münster, cathédrale, cathédrales, catedral, catedrales, catedrais, cattedrale, cattedrali, duomo, kathedraal, महागिरजाघर, =nhà thờ chính tòa
temple, temples, Tempel, -tempel, templo, templos, tempio, templi, tempels, mandir, मंदिर, मन्दिर, =chùa, =đền, pagoda, pagodas, Pagode, Pagoden, pagodes, pagode
mosque, mosques, Moschee, Moscheen, -moschee, mosquée, mosquées, mezquita, mezquitas, mesquita, mesquitas, moschea, moskee, masjid, camii, मस्जिद, =thánh đường
castle, castles, Burg, Burgen, Schloss, Schlösser, -schloss, château, châteaux, castillo, castillos, castelo, castelos, castello, castelli, kasteel, kastelen, \
fort, forts, fortress, Festung, forteresse, fortaleza, fortezza, किला, =lâu đài
palace, palaces, Palast, Paläste, -palast, Palais, Schloss, Schlösser, -schloss, palacio, palacios, palácio, palácios, palazzo, palazzi, paleis, महल, =cung điện
tower, towers, Turm, Türme, torre, torres, torri, toren, torens, मीनार, =tháp
bridge, bridges, Brücke, Brücken, -brücke, pont, ponts, puente, puentes, ponte, pontes, ponti, brug, bruggen, पुल, =cầu
museum, museums, Museen, musée, musées, museo, museos, museu, museus, musei, musea, संग्रहालय, =bảo tàng
statue, statues, Statuen, estatua, estatuas, estátua, estátuas, statua, standbeeld, मूर्ति, =tượng
lake, lakes, lac, lacs, lago, lagos, laghi, झील, =hồ
waterfall, waterfalls, falls, Wasserfall, Wasserfälle, cascade, cascades, chutes, cascada, cascadas, cataratas, cachoeira, cascata, waterval, झरना, =thác
cave, caves, Höhle, Höhlen, -höhle, grotte, grottes, cueva, cuevas, gruta, grutas, caverna, grotta, grot, गुफा, =hang động, =động
tomb, tombs, mausoleum, Grab, Grabmal, tombeau, mausolée, tumba, mausoleo, túmulo, mausoléu, tomba, मकबरा, =lăng, =lăng mộ
opera, Oper, Opernhaus, opéra, ópera, =nhà hát
"""
"""A kind in each line. After a hyphen, the end of a compound; after =, a word that means it with its accents alone."""


def words_of_kind(phrase: str) -> Collection[str]:
    """All words for the kind that a phrase names; none: it names none. After a hyphen, ends of words."""
    typed = f"={phrase.casefold()}"
    return _WORDS.get(typed if typed in _WORDS else folded(phrase), ())


def _by_word() -> dict[str, set[str]]:
    """All words for a kind by each of them; `Schloss` is a word of two."""
    words_of: dict[str, set[str]] = {}
    for line in _KINDS.strip().splitlines():
        names = line.split(", ")
        words = {"-" * name.startswith("-") + folded(name) for name in names if not name.startswith("=")}
        for word in (*words, *(name for name in names if name.startswith("="))):
            words_of.setdefault(word.removeprefix("-"), set()).update(words)
    return words_of


_WORDS = _by_word()
