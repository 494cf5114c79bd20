"""The servers that other tests lean on do what those tests take for granted."""

from servers import RedisServer


def test_a_redis_that_was_ended_in_any_way_comes_back_with_what_it_held(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.set("kept", "yes")
    redis_server.stop()
    redis_server.start()
    redis_server.kill()
    redis_server.start()
    with redis_server.client() as client:
        assert client.get("kept") == b"yes"
