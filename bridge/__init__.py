"""Listeners: they forward a cloud's oslo notifications into the notifications topic."""
