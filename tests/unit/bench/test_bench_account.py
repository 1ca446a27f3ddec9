from urllib.parse import parse_qs

from bench import account


def test_signature_is_the_one_of_the_official_example() -> None:
    made = account.signature("AAAAA", "1714037059", "486452656")

    assert made == "899cf89e464efb63f54ddac96b0a0a235f53aa78"


def test_query_is_signed_with_the_accounts_token_at_the_given_time() -> None:
    query = {name: values[0] for name, values in parse_qs(account.signed_query(1714037059.9)).items()}

    assert query["timestamp"] == "1714037059"
    assert query["signature"] == account.signature(account.TOKEN, query["timestamp"], query["nonce"])


def test_two_loads_share_no_number_and_all_numbers_fit_into_64_bits() -> None:
    first, second = account.fresh_numbers(1714037059.0), account.fresh_numbers(1714037060.0)

    assert first.first + account.CALLBACKS_PER_LOAD - 1 in first
    assert first.first + account.CALLBACKS_PER_LOAD - 1 not in second
    assert second.first + 1 not in first
    assert account.fresh_numbers(4102444800.0).first < 2**63  # the year 2100


def test_texts_differ_and_have_one_length_so_that_every_system_gets_the_same_bytes() -> None:
    assert len(set(account.TEXTS)) == len(account.TEXTS)
    assert len({len(text.encode()) for text in account.TEXTS}) == 1
