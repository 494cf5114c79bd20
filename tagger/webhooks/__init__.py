"""Webhooks: events for another program, stored in the transaction of the event, signed, and sent until it accepts them."""
