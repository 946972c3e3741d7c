from __future__ import annotations

import random
import time
import unicodedata

import pytest
from num2words import num2words

from components.core.errors import TextError
from components.core.normalizers import MAX_CHARACTERS, MAX_TEXT_CHARACTERS, NORMALIZERS, check_reference, normalizer
from components.core.scoring import normalise, word_errors


def ours(text: str, language: str = "en") -> str:
    return normalise(text, language)


def table(rows: str) -> list[tuple[str, ...]]:
    """A line a case; its columns stand between bars."""
    return [tuple(cell.strip() for cell in row.split("|")) for row in rows.strip().splitlines()]


# Each kind: what is the same on both sides.

APOSTROPHES = table("""
I don’t know what’s she‘ll say | I don't know what's she'll say
it ʼs donʼt | it 's don't
can`t and won´t | can't and won't
they′re here | they are here
we＇ve been | we have been
I‛d go | I would go
you’ll see | you will see
‘hello’ she said | hello she said
the dogs’ tails | the dogs tails
rock ‘n’ roll | rock and roll
O’Brien’s hat | O'Brien's hat
wouldn’t’ve | would not have
the man’s a coward | the man is a coward
dont | don't
goin’ home | going home
""")

INVISIBLE = [
    ("trans\u200bformation", "transformation"),
    ("trans\u00adformation", "transformation"),
    ("\ufeffhello", "hello"),
    ("\u200ehello\u200f \u202athere\u202c", "hello there"),
    ("he\x00llo", "hello"),
    ("hello\u00a0there", "hello there"),
    ("hello\u202fthere\u3000friend", "hello there friend"),
    ("co\u2060operate", "cooperate"),
    ("a\u034frm", "arm"),
    ("hel\ufe0flo", "hello"),
    ("hello\u2028there", "hello there"),
    ("hello\u180e", "hello"),
    ("\ue000hello\ufffd", "hello"),
    ("h\U000e0041ello", "hello"),
    ("hel\ud800lo", "hello"),
    ("hel\ufff9lo", "hello"),
    ("\uff28ello \ufb01sh", "hello fish"),
]

PUNCTUATION = [
    *(
        (text, "")
        for text in ("…", "...", "—", "?!", "“”", "♪", "🙂 🙂", "- - -", "«»", "¡!", "。、", "*", "//", "( )")
    ),
    *table("""
hello … there | hello there
hello--there | hello there
well-known | well known
“Stop!”, he said; then: nothing. | stop he said then nothing
and/or | and or
© Someone™ | someone
"""),
]

NUMBERS = table("""
1 2 3 4 | one two three four
nine two three zero | 9 2 3 0
nine two three zero | 9230
1,000 | one thousand
1st | first
the 21st century | the twenty-first century
a hundred and one | 101
two million three hundred thousand and five | 2,300,005
between one hundred and two hundred | between 100 and 200
from one thousand to two thousand | from 1000 to 2,000
in 1994 | in nineteen ninety-four
2019 | twenty nineteen
2019 | two thousand and nineteen
1905 | nineteen oh five
1900 | nineteen hundred
the 1960s | the nineteen sixties
the ’90s | the nineties
3.14 | three point one four
0.5 | point five
2.5 million | two and a half million
2½ | two and a half
1 1/2 | one and a half
2/3 | two thirds
3/4 | three quarters
24/7 | twenty four seven
double oh seven | 007
one second | 1 second
twenty seconds | 20 seconds
a twenty second delay | a 20-second delay
the twenty second of May | the 22nd of May
November 27th | November twenty-seven
50% | fifty per cent
-5 | minus five
half a million | 500,000
192.168.1.1 | one nine two point one six eight point one point one
20-year-old | twenty year old
MP3 | MP three
World War II | world war two
No. 5 | number five
5 km | five kilometres
10 kg | ten kilos
2 1/2 cups | two and one half cups
twelve and three quarters | 12 3/4
eight hundred and two | 802
fifteen hundred | 1,500
one billion | 1,000,000,000
one-hundredth | 100th
nine-eleven | 9/11
555-0199 | five five five oh one nine nine
10x | ten times
Sept. 11 | September eleventh
0.05 | zero point zero five
99.9% | ninety nine point nine per cent
B-52 | b fifty two
the 1800’s | the eighteen hundreds
१२३ | 123
３ apples | three apples
the 100th day | the hundredth day
a couple of 100s | a couple of hundreds
1-800-555-0123 | one eight hundred five five five oh one two three
half a mile | ½ a mile
minus five | negative five
Henry VIII | Henry the eighth
Louis XIV of France | Louis the fourteenth of France
Chapter IV | chapter four
World War II | World War 2
x² + y³ | x squared plus y cubed
100 m² | a hundred square metres
""")

MONEY_AND_TIMES = table("""
$0.5 | 50 cents
$.50 | fifty cents
$1 | one dollar
$21.50 | twenty one dollars and fifty cents
$1.05 | one dollar and five cents
$2.5 million | two point five million dollars
$5bn | five billion dollars
£5.99 | five pounds ninety-nine
£0.50 | 50p
£1.5m | one and a half million pounds
$5.00 | five dollars
$1,000.50 | one thousand dollars and fifty cents
12:00 p.m. | twelve pm
€20 | twenty euros
20 € | twenty euros
¥100 | one hundred yen
a $5 bill | a five-dollar bill
US$5 | five US dollars
US$2.5 million | two point five million US dollars
5 USD | five US dollars
EUR 20 | twenty euros
$5-10 | five to ten dollars
$5–$10 | 5 to 10 dollars
eleven o’clock | 11 o'clock
ten o'clock | 10:00
10:30 a.m. | ten thirty AM
10.30 am | 10:30 a.m.
10:00 a.m. | ten am
7:05 | seven oh five
5pm | five p.m.
5 p.m. | five pm
""")

ABBREVIATIONS = table("""
etc. | et cetera
vs. | versus
U.S.A. | USA
U S A | usa
F.B.I. agents | FBI agents
e-mail | email
'cause | because
Mr. Brown and Mrs. Brown | mister Brown and missus Brown
Dr. Smith of Main St. | doctor Smith of Main Street
St. John | Saint John
Ph.D. | PhD
e.g. this | eg this
A.I. | AI
Prof. Jones, Jr. | professor Jones junior
TV | T.V.
J.R.R. Tolkien | J. R. R. Tolkien
J K Rowling | J.K. Rowling
Apt. 5, Mt. Vernon | apartment five Mount Vernon
Acme Inc. and Acme Ltd. | Acme incorporated and Acme limited
vol. 3 | volume three
Ft. Worth, 3 ft. | Fort Worth three feet
w/o milk, w/ sugar | without milk with sugar
""")

SIGNS = table("""
A & B | A and B
AT&amp;T | AT&T
info@example.com | info at example dot com
j.doe@example.org | j dot doe at example dot org
#1 | number one
www.example.com/a | www dot example dot com slash a
R&B | R and B
-40°F | minus forty degrees Fahrenheit
−5° | minus five degrees
-$5 | minus five dollars
C++ | C plus plus
C# | C sharp
2 + 2 = 4 | two plus two equals four
20°C | twenty degrees Celsius
5 × 5 | five times five
§ 5 | section five
a < b | a less than b
90 km/h | ninety kilometers per hour
donâ€™t | don't
±5 | plus or minus five
~5 | about five
5 ≥ 3 | five greater than or equal to three
www.bbc.co.uk | www dot bbc dot co dot uk
""")

SPELLINGS = table("""
okay | ok
O.K. | okay
alright | all right
er well ah | well
um, uh, hmm, mhm: yes | yes
colour | color
analyse | analyze
grey | gray
café | cafe
naïve coöperation | naive cooperation
gonna | going to
cannot | can not
per cent | percent
any one | anyone
to-morrow | tomorrow
till, ’til | till until
y'know | you know
alot | a lot
donut | doughnut
hafta | have to
good night | goodnight
wi-fi | wifi
co-worker | coworker
co-operate | co operate
non-profit, anti-war | nonprofit anti war
re-elect | reelect
Smith and Co said | Smith & Co. said
""")

MARKUP = [
    ("[music] hello", "hello", 1),
    ("hello (laughs) there", "hello there", 1),
    ("World Health Organization (WHO) said", "world health organization who said", 0),
    ("a < b and c > d are words", "a less than b and c greater than d are words", 0),
    ("{noise} hello *laughs*", "hello", 2),
    ("this is *really* good", "this is really good", 0),
    ("（笑） hello 【音楽】", "hello", 2),
    ("(speaking in Spanish) hello (upbeat music)", "hello", 2),
    ("[inaudible 00:12] hello <unk> <i>there</i>", "hello there", 2),
    ("he (the dog) ran", "he the dog ran", 0),
    ("[one two three four five six seven] ran", "one two three four five six seven ran", 0),
    ("<|en|><|0.00|> hello<|2.00|>", "hello", 0),
    ("SPEAKER_00: hello SPEAKER_01: there", "hello there", 2),
    ("Speaker 1: hello\nSpeaker 2: there", "hello there", 2),
    ("[SPEAKER_00]: hello", "hello", 1),
    ("JOHN: hello there", "hello there", 1),
    ("John Smith: hello\nMary: there", "hello there", 2),
    ("Interviewer: why?\nA: because", "why because", 2),
    (">> JOHN: hello", "hello", 1),
    ("Remember: be kind", "remember be kind", 0),
    ("1\n00:00:00,000 --> 00:00:02,000\nhello there\n\n2\n00:00:02,000 --> 00:00:04,000\nmy friend\n",
     "hello there my friend", 2),
    ("1\r\n00:00:00,000 --> 00:00:02,000\r\nin 2019\r\n\r\n2\r\n00:00:02,000 --> 00:00:04,000\r\nit was",
     "in 2019 it was", 2),
    ("WEBVTT - talk\n\nNOTE made by hand\n\n00:00.000 --> 00:02.000 align:start\n<v Bob>hello <b>there</b></v>",
     "hello there", 2),
    ("WEBVTT\n\nintro\n00:00.000 --> 00:02.000\n- hello", "hello", 1),
    ("1 00:00:00,000 --> 00:00:02,000 hello 2 00:00:02,000 --> 00:00:03,000 there", "hello there", 2),
    ("0:12\nhello\n0:15\nthere", "hello there", 2),
    ("00:00:12 hello\n00:00:15 there", "hello there", 2),
    ("{\\an8}hello", "hello", 0),
    ("Dr. Smith: hello there", "hello there", 1),
    ("John (off-screen): hello there", "hello there", 1),
    ("Speaker A: hello Speaker B: there", "hello there", 2),
    ("(00:12) hello", "hello", 1),
]  # fmt: skip

LANGUAGES = table("""
tr | İstanbul | istanbul
tr | ISPARTA | ısparta
tr | IŞIK | ışık
az | İçəri | içəri
de | Straße | STRASSE
de | 25 Häuser | fünfundzwanzig Häuser
de | 1994 | neunzehnhundertvierundneunzig
de | 50 % | fünfzig Prozent
de | 3,5 | drei Komma fünf
de | A & B | A und B
de | äh ja | ja
de | T-Rex | T Rex
de | z. B. 1.000 Euro | zum Beispiel tausend Euro
de | einhundertzwanzig | 120
es | $20 | veinte dólares
es | el Sr. López | el señor López
fr | Mme Dupont | madame Dupont
ro | ştiinţă | știință
ca | col·legi | collegi
ru | № 5 | номер 5
ar | إلى أين | الى اين
hi | हिन्दी | हिंदी
th | เเม่ | แม่
fr | l’accident | l'accident
fr | 50 % de 1 000 | cinquante pour cent de mille
fr | cœur | coeur
fr | euh oui | oui
es | 25 años | veinticinco años
es | ¿Qué? ¡Sí! | qué sí
it | 50% | cinquanta per cento
pt | 2 € | dois euros
ru | ещё | еще
el | ΟΔΟΣ | οδος
ar | مُحَمَّدٌ | محمد
ar | كتــاب | كتاب
ar | ٪٥٠ | %50
he | שָׁלוֹם | שלום
he | ארה״ב | ארה"ב
fa | می‌روم | میروم
fa | كتاب | کتاب
hi | किताब, | किताब
hi | १२३ | 123
zh | 砸自己的脚 | 砸自己的腳
zh | ２０１９年１５個 | 二零一九年十五个
zh | 105 | 一百零五
zh | 20% | 百分之二十
zh | 3.5 | 三点五
zh | 10000 | 一万
zh | 120500 | 十二万零五百
zh | 5000万 | 五千万
ja | 2024年 | 二千二十四年
ja | 15,000円 | 一万五千円
ja | 25 | 二十五
ja | ｶﾀｶﾅ | カタカナ
th | 25 | ยี่สิบห้า
ko | 한국어 | 한국어
uk | п’ять | п'ять
vi | tiếng Việt | tiếng việt
""")

# What stays different: the number of errors.
DIFFERENT = [
    ("en", "-5 degrees", "5 degrees", 1),
    ("en", "C++", "C", 2),
    ("en", "C#", "C", 1),
    ("en", "its a dog", "it's a dog", 2),
    ("en", "$50", "50", 1),
    ("en", "50%", "50", 1),
    ("en", "first", "one", 1),
    ("en", "a b c d", "a b c e", 1),
    ("en", "nine two three zero", "9 2 3 1", 1),
    ("en", "two million", "two billion", 1),
    ("en", "five dollars", "five pounds", 1),
    ("en", "ten o'clock", "ten", 1),
    ("en", "yes", "yeah", 1),
    ("en", "±5", "5", 3),
    ("en", "Henry VIII", "Henry VII", 1),
    ("en", "US$5", "$5", 1),
    ("en", "alot different", "different", 2),
    ("hi", "की", "का", 1),
    ("hi", "कि", "की", 1),
    ("bn", "কি", "কী", 1),
    ("ta", "கா", "கி", 1),
    ("th", "นำ", "น้ำ", 1),
    ("de", "-5 Grad", "5 Grad", 1),
    ("de", "Mädchen", "Madchen", 1),
    ("es", "año", "ano", 1),
    ("ru", "мой", "мои", 1),
    ("ar", "كتاب", "كتب", 1),
    ("he", "שלום", "שלוש", 1),
    ("zh", "我们今天去北京看朋友", "我们明天去北京看朋友", 1),
    ("ja", "客観的実在", "客観的存在", 1),
    ("tr", "ısparta", "isparta", 1),
]

KINDS = {
    "apostrophes": APOSTROPHES,
    "invisible": INVISIBLE,
    "punctuation": PUNCTUATION,
    "numbers": NUMBERS,
    "money and times": MONEY_AND_TIMES,
    "abbreviations": ABBREVIATIONS,
    "signs": SIGNS,
    "spellings": SPELLINGS,
}


@pytest.mark.parametrize(
    ("one", "other"),
    [pytest.param(*row, id=f"{kind}-{k}") for kind, rows in KINDS.items() for k, row in enumerate(rows)],
)
def test_the_same_words_are_the_same(one, other):
    assert ours(one) == ours(other)


@pytest.mark.parametrize(("text", "words", "dropped"), MARKUP)
def test_notes_labels_and_times_are_left_out_and_counted(text, words, dropped):
    score = word_errors(text, words, "en")
    assert score.normalized_reference == score.normalized_text
    assert score.dropped == dropped


@pytest.mark.parametrize(("language", "one", "other"), LANGUAGES)
def test_the_same_words_of_other_languages(language, one, other):
    assert ours(one, language) == ours(other, language) != ""


@pytest.mark.parametrize(("language", "one", "other", "edits"), DIFFERENT)
def test_what_differs_stays_different(language, one, other, edits):
    assert word_errors(one, other, language).errors.edits == edits


def test_numbers_are_what_num2words_says():
    rng = random.Random(4)
    for number in [*range(1, 120), *(rng.randrange(1, 10 ** rng.randint(3, 12)) for _ in range(200))]:
        said, cents = num2words(number), rng.randint(1, 99)
        same = {
            f"we saw {number:,} of them": f"we saw {said} of them",
            num2words(number, to="ordinal_num"): num2words(number, to="ordinal"),
            f"${number:,}.{cents:02d}": f"{said} dollars and {num2words(cents)} cents",
            f"-{number}.{cents}%": f"minus {said} point {' '.join(num2words(int(digit)) for digit in str(cents))} percent",
            f"{number}": " ".join(num2words(int(digit)) for digit in str(number)),
        }
        for written, words in same.items():
            assert ours(written) == ours(words)
    for year in range(1000, 2100, 7):
        assert ours(str(year)) == ours(num2words(year, to="year"))


def test_no_digit_is_glued_to_another_word():
    assert ours("eleven o'clock, one second") == "1 1 oclock 1 second"
    assert ours("1,000,000 in 1994") == "1 000 000 in 1 9 9 4"
    assert ours("$2.50 and 22nd") == "2 dollars 5 0 and 2 2nd"


@pytest.mark.parametrize(
    "text", ["\u1fcd", "\u00d2\u0083", "\u00e3\u2026", "\U000116d4", "\u00a0\u0301", "\ucab9\u00e9", "1\u20e3"]
)
def test_rare_characters_are_the_same_in_every_form(text):
    for form in ("NFC", "NFD"):
        for language in ("en", "de", "ko", None):
            assert word_errors(text, unicodedata.normalize(form, text), language).errors.edits == 0


def test_languages_without_spaces_count_characters():
    errors = word_errors("我们今天去北京看朋友", "我们明天去北京看朋友。", "zh").errors
    assert (errors.unit, errors.reference_words, errors.wer) == ("character", 10, 0.1)
    assert word_errors("我们今天", "我们今天", None).errors.unit == "character"
    assert word_errors("hello", "hello", "en").errors.unit == "word"
    assert word_errors("안녕 하세요", "안녕", "ko").errors.wer == 0.5


def test_the_language_may_have_a_region_or_a_name():
    for name in ("zh-TW", "zh_Hant", "Chinese", "<|zh|>", "ZH"):
        assert word_errors("砸自己", "砸自己", name).errors.unit == "character"


def test_whispers_normaliser_is_that_of_transformers():
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

    from components.core.text.english import spellings

    texts = (
        "Mr. Brown won't pay $21.50 -- uh, for the COLOUR!", "a < b [and] (c) > d", "twenty-one", "(()", "((a) b) c", "<a",
        "() (x))", "<a(b>c)d", "[a", "it (is (so) 'tis",
    )  # fmt: skip
    for text in texts:
        assert normalise(text, "en", "whisper") == " ".join(EnglishTextNormalizer(spellings())(text).split())
        assert normalise(text, "de", "whisper") == " ".join(BasicTextNormalizer()(text).split())
    assert normalise("自己", "zh", "whisper") == "自 己"


def test_none_compares_what_was_written():
    assert normalise(" Hello,  world. ", "en", "none") == "Hello, world."
    assert word_errors("Hello", "hello", "en", "none").errors.wer == 1


def test_each_is_named_with_its_version():
    for name, each in NORMALIZERS.items():
        assert each.name == name
        assert word_errors("a", "a", "en", name).errors.normalizer == each.version
        assert each.version.startswith(f"{name}-")
    with pytest.raises(TextError, match="ours, whisper, none"):
        normalizer("theirs")


def test_a_text_beyond_the_limit_is_refused():
    check_reference("a" * MAX_CHARACTERS)
    with pytest.raises(TextError, match="100,001"):
        word_errors("a" * (MAX_CHARACTERS + 1), "", "en")
    with pytest.raises(TextError, match="1,000,001"):
        word_errors("", "a" * (MAX_TEXT_CHARACTERS + 1), "en")


HOSTILE = (
    "( 9 \u0301 \u0301\u0316 a. $ a A|b [ < (a \" ' a' -5| 1| x've one| hundred| and| a\n 10:00| \u200b 1, million|and| $1| a@ Ab:| "
    "① SPEAKER_1: é 中 --> *a Ã© &amp; ß 🙂 999| 2/ [a] u| \ud800"
).split(" ")


@pytest.mark.parametrize("name", NORMALIZERS)
@pytest.mark.parametrize("language", ["en", "de", "zh"])
def test_hostile_texts_take_linear_time(name, language):
    normalise("warm 1 中", language, name)
    for piece in HOSTILE:
        text = piece.replace("|", " ")
        text = (text * MAX_CHARACTERS)[:20_000]
        started = time.process_time()
        normalise(text, language, name)
        assert time.process_time() - started < 1, piece  # quadratic time would take ten or more
