import threading

from cryptography.fernet import Fernet

from fluxsite import keys


def test_a_secret_is_made_once_and_then_read(tmp_path):
    path = tmp_path / "data" / "secret_key"

    first = keys.load_or_create(path, make=keys.new_secret_key)
    second = keys.load_or_create(path, make=keys.new_secret_key)

    assert first == second
    assert len(first) >= 50


def test_only_the_owner_may_read_it(tmp_path):
    keys.load_or_create(tmp_path / "key", make=keys.new_secret_key)

    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_nothing_but_the_secret_is_left_behind(tmp_path):
    keys.load_or_create(tmp_path / "key", make=keys.new_secret_key)

    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_many_at_once_agree_on_one_secret(tmp_path):
    barrier = threading.Barrier(16)
    seen = []

    def make() -> str:
        # All have seen that there is no file yet before any of them makes it.
        barrier.wait()
        return keys.new_secret_key()

    def load() -> None:
        seen.append(keys.load_or_create(tmp_path / "key", make=make))

    threads = [threading.Thread(target=load) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(seen) == 16
    assert len(set(seen)) == 1


def test_a_field_key_encrypts():
    fernet = Fernet(keys.new_field_key())

    assert fernet.decrypt(fernet.encrypt(b"secret")) == b"secret"
