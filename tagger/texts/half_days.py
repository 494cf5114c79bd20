# ruff: noqa: RUF001 - words of all scripts
"""What languages call the halves of a day, with which phones write times of twelve hours.

From CLDR, as Babel 2.18 has it: `am` and `pm` of all languages, in lower case and compatibility form, letters
and their marks alone. Left out are words that mean both halves, in two languages, and single letters of
Latin script but the English ones.
"""

import unicodedata


def half_day_word(text: str) -> str:
    """The text in the form of these words: `p. m.` becomes `pm`; empty if it has no letter."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(
        letter for letter in folded if unicodedata.category(letter)[0] in "LM"
    )


_MORNING_WORDS = """
a adduha ag am amvormittag an ankstāinan antemidí ap atm banhaet bn braxkndaax comme damanhã de
delamañana delmatin dinda dop dopoldne dopołdnja dopołedniŏ eparadites fh fm ft förmiddag
fọmọ́nin gh goöň göň günortadanöň hengihengi hh hoseng iarmade ib ibikɛ̂glà icheheavo idiɓa im
isuk iđitbeaivet iđitbeaivi ka kangama karoon ki kiroko kiɛmɛ́ɛm krn kíkíríg lb leebi lumalwak
lwamilawu ma makeo mambia manhã maná mat matin mañana mbaʼámbaʼ mbaꞌmbaꞌ moies muhi munkyo nd
ntufat ntɔ́ngɔ́ nụtụtụ od pagisiang pamilau paradite pd pg pgsg piopensuno priekšp
priekšpusdiena priekšpusdienā priešpiet prijepodne prp prīškpušdīnē rn rw rũ sa saaku safiya sf
sokallim soodo sub subaka subbaahi sárúwá taparachu tesiran tifawt to too uhrvörmiddaachs
ulloqeqqatatungaa uluchelo utuko vaasisu vm vorm vormittag vörmeddaach wd wichishu yb zdatazal
zmu àárɔ̀ àárọ̀ öö öň ĩyakwakya ŋdi ǁgoagas ɛnkakɛnyá ʊshilèkʊboɖu πμ а ам апн апоўначы дп
обедтэикеле преподне претпл пријеподне проб таңкы то тң эи үө ӕмбисбоныразмӕ ա לפנהצ פֿאַרמיטאָג
اےایم بن تد ص صباحا صباحًا صبحمنجهند غم ق قبلازظهر قظ چب چۈشتىنبۇرۇن ܩ ܩܛ ߛ एएम तडके दुपहरब्रोंठ
पूर्वाह्न फुं भोर भ्यागा येएम सकाळीं सबेरे सवेर सुबुहजा এএম নুমাং ਪੂਦੁ ਸ ଏ ଏଏମ ପୂ ପୂର୍ବାହ୍ନ ఉ ఎ
ఎఎమ్ පෙ පෙව ก่อนเที่ยง ກ່ອນທ່ຽງ སྔཆ སྔདྲོ နံနက် ማለዶ ቀደምሰርምዕል ቅቀ ጠ ጥዋት ጽባሕ ፋዱስጃብ Ꮜ ᏌᎾᎴ ᐁᒼ ᐊᒼ ᠦᠥ
ᱥᱮᱛᱟᱜ ⵜⵉⴼⴰⵡⵜ 上午 午前 ꎸꄑ 오전 𐐰𐑋 𐑨𐑥 𞤢 𞤢𞤰
"""
MORNING = frozenset(_MORNING_WORDS.split())
_AFTERNOON_WORDS = """
ak akasuba aluula amnamittag anw banringzgvaq baubaukndaax carra ch chilo cɛɛ́nko datarde
delatarde desira dilolo du ea eahketbeaivet eahketbeaivi eb ebongi ebyámu efiafi eftermade
eftermiddag eh eigulo em ep epasdites ew fi fọívnin gd gm gosoň gsoň günortadansoň hawwaro
hwaĩinĩ ichamthi in iɓugajɔp ja kikiiɗe kingoto kisɛ́ndɛ koosk kooskoliny kugú kyiukonyi lilli
lk lumalwap makaaripi mchochill md mog mpókwa muu nabali nabalị nachm nam namittag ncwònzém ngo
ngəgógəle nm nommendaach nomë nomëttes ntmeddit nyiaghuo odp ot p pamunyi papussideinan pasdite
pashamihe piecpušdīnē pipinisuno pm pn pop popiet popodne popoldne popołdnju popołedniu posmidí
ptg ptm pēcp pēcpusd pēcpusdiena pēcpusdienā sanje shwane sn soir sorémalem soň srmlm tadggwat
tarde teipa thapama tk tŋ uhrnommendaachs uk ulloqeqqatakingorna wb wengi wótp wótpołdnja yamma
yh ym zaarikayb zmw ös ĩyawĩoo ŋkambɔ́tnji ũg ǃuias ɔ̀sán ɛndámâ ɣetrɔ ʊshilèkʊsasʊ μμ апд
апоўдні обедтэмейле п пм попл поподне послијеподне пп слоб тк түштөнкийинки эк үх ӕмбисбоныфӕстӕ
հ אחהצ נאָכמיטאָג بظ بعدازظهر تك دن شاممنجهند غو ك م مساء مساءً منجهندشام پیایم چك چۈشتىنكېيىن ܒ
ܒܛ ߥ अपराह्न दपेहरासंजा दपैहरबाद दुपहरपतॖ पीएम बे बेलासे शामजा सञ सांजे सांझ सांम পিএম ਬਾਦੁ ਸ਼ ଅ
ଅପରାହ୍ନ ପି ପିଏମ పి పిఎమ్ సా ප පව หลังเที่ยง ຫຼັງທ່ຽງ ཕྱིཆ ཕྱིདྲོ ညနေ ሓቆስርምዕል ምሴት ቃማ ከ ከሰዓት ድቀ
ፋዱስደምቢ Ꮢ ᏒᎯᏱᎢ ᏒᎯᏱᎢᏗᏢ ᐲᒼ ᠦᠬᠣ ᱧᱤᱫᱟᱹ ḍeffiraza ọ̀sán ⵜⴰⴷⴳⴳⵡⴰⵜ 下午 午後 ꁯꋒ 오후 𐐹𐑋 𐑐𐑥 𞤩 𞤩𞤰
"""
AFTERNOON = frozenset(_AFTERNOON_WORDS.split())
